"""The files of this folder: stored events and logs, as text, and rows made of them.

    events/<topic>.v<schema version>.json   one event as it was stored
    logs/<name>.ndjson                      a whole log, an event a line
    logs/<name>.rows.v<projection version>.json
                                            what the projections made of that log

What is here was written by a released version, or is about to be. It is never
overwritten: a store with the same bytes may be anywhere.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leasehold.adapters import codec
from leasehold.adapters.sqlite.connecting import Target
from leasehold.adapters.sqlite.store import SQLiteStore
from leasehold.adapters.store import Clock, Store
from leasehold.projections.registry import KEYS

HERE = Path(__file__).parent
MEMORY = Target(path=None, durability="normal", read_only=False)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of `stored_events`, its state as text."""

    notification_id: int
    originator_id: str
    originator_version: int
    topic: str
    state: str

    def decode(self) -> codec.RecordedEvent:
        """Read it as the library does."""
        return codec.decode(
            self.notification_id,
            self.originator_id,
            self.originator_version,
            self.topic,
            self.state.encode(),
        )

    @property
    def schema_version(self) -> int:
        """The version that the state says it is of."""
        version = json.loads(self.state)["schema_version"]
        assert type(version) is int
        return version


@dataclass(frozen=True, slots=True)
class Sample:
    """A stored event, and the hash of the one before it in its stream."""

    stored: StoredEvent
    previous_sha256: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.stored.topic}.v{self.stored.schema_version}.json"

    @classmethod
    def read(cls, path: Path) -> "Sample":
        """Read a file that `text` wrote."""
        fields = json.loads(path.read_text("utf-8"))
        return cls(StoredEvent(**fields["stored"]), fields["previous_sha256"])

    def text(self) -> str:
        """Write the file."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        FileExistsError: It is there; samples are never overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


@contextmanager
def store_in_memory(clock: Clock | None = None) -> Iterator[SQLiteStore]:
    """Give an empty store."""
    with closing(SQLiteStore(MEMORY, clock)) as store:
        store.prepare()
        yield store


def log_of(store: SQLiteStore) -> list[StoredEvent]:
    """Read the log of a store."""
    rows = store.query_plain("SELECT * FROM stored_events ORDER BY notification_id")
    return [StoredEvent(**{**row, "state": row["state"].decode()}) for row in rows]


def read_log(path: Path) -> list[StoredEvent]:
    """Read a log, one event a line."""
    lines = path.read_text("utf-8").split("\n")
    return [StoredEvent(**json.loads(line)) for line in lines if line]


def log_text(log: list[StoredEvent]) -> str:
    """Write a log, one event a line."""
    lines = [json.dumps(asdict(stored), ensure_ascii=False) for stored in log]
    return "".join(f"{line}\n" for line in lines)


def restore(store: Store, log: list[StoredEvent]) -> None:
    """Put a log into an empty store and project it."""
    with store.write() as session:
        for stored in log:
            recorded = stored.decode()
            session.restore(recorded, stored.state.encode())
            session.project(recorded)


def rows_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Read all projected tables, bytes as base64."""
    with store.read() as session:
        return {
            table: [
                {column: _plain(value) for column, value in row.items()}
                for row in session.rows(table)
            ]
            for table in KEYS
        }


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value
