"""Stores whose log somebody changed, past the triggers that guard it."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import material
from forging import VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from choices import Choices

CHANGES_MAX = 4
COLUMNS = ("originator_id", "originator_version", "topic", "notification_id", "state")
# Half of the changes are of the state: most of what there is stands in it.
COLUMNS_CHOSEN = (*COLUMNS, "state", "state", "state")
OTHERS: dict[str, tuple[Any, ...]] = {
    "originator_id": ("", "x", "\0", "x/0", "00000000-0000-0000-0000-000000000000"),
    "originator_version": (1, 2, 2**31, 2**63 - 1),
    "topic": ("", "x", "execution.created", "attempt.started", "frame.appended"),
    "notification_id": (-(2**63), -1, 0, 2**62, 2**63 - 1),
    "state": (b"", b"{}", b"\xff", b"[" * 10_000, b'{"sha256":"'),
}


@contextmanager
def damaged_store(choices: Choices) -> Iterator[str]:
    """Give the url of a store with the story and some changes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        path.write_bytes(material.stored_file())
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            for _ in range(1 + choices.number(CHANGES_MAX - 1)):
                damage(connection, choices)
            connection.execute("COMMIT")
        yield f"sqlite:///{path}"


def damage(connection: sqlite3.Connection, choices: Choices) -> None:
    """Change a row of the log, as far as its table lets it."""
    rows = connection.execute(
        "SELECT notification_id, state FROM stored_events ORDER BY notification_id"
    ).fetchall()
    if not rows:
        return
    position, state = choices.one_of(rows)
    if choices.number(7) == 0:
        connection.execute(
            "DELETE FROM stored_events WHERE notification_id = ?", [position]
        )
        return
    column = choices.one_of(COLUMNS_CHOSEN)
    value = choices.one_of(OTHERS[column])
    if column == "state" and choices.number(3):
        value = changed(state, choices)
    connection.execute(
        f"UPDATE OR IGNORE stored_events SET {column} = ? WHERE notification_id = ?",
        [value, position],
    )


def changed(state: bytes, choices: Choices) -> bytes:
    """Put something else in the place of a part of a state."""
    begin = choices.number(len(state))
    end = min(len(state), begin + choices.number(30))
    pieces = [*(value.encode() for value in VALUES), choices.piece(20)]
    return state[:begin] + choices.one_of(pieces) + state[end:]
