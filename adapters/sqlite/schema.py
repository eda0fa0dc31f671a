"""Making and checking the tables of an SQLite store."""

import sqlite3
from collections.abc import Iterator
from typing import Final

from leasehold.adapters.queries import schema_text, statements
from leasehold.adapters.versions import changed_meanwhile, read_versions

SCHEMA_VERSION: Final = 1
"""Rises with any change to the tables that are kept (`schema/kept.sql`)."""

_PACKAGE: Final = __package__
_VERSIONS: Final = "SELECT key, value FROM leasehold_meta"
_HAS_META: Final = """
SELECT count(*) FROM sqlite_master
WHERE type = 'table' AND name = 'leasehold_meta'
"""
_GENERATION_STEP: Final = 1_000_000
_SET: Final = "INSERT OR REPLACE INTO leasehold_meta (key, value) VALUES (?, ?)"
_PROJECTED: Final = """
SELECT type, name FROM sqlite_master
WHERE name IN ({names}) AND type IN ('table', 'view')
"""


def versions(cursor: sqlite3.Cursor) -> dict[str, int]:
    """Return the versions that a store was written by; empty where it has no tables.

    Raises:
        StoreError: `schema_version`: the table of versions is not as it was made.
    """
    if not cursor.execute(_HAS_META).fetchone()[0]:
        return {}
    return read_versions(cursor.execute(_VERSIONS).fetchall())


def create(cursor: sqlite3.Cursor, projection_version: int) -> None:
    """Make all tables of an empty store."""
    _run(cursor, "kept")
    _run(cursor, "projected")
    set_meta(cursor, "schema_version", str(SCHEMA_VERSION))
    set_projection_version(cursor, projection_version)


def make_position_table(cursor: sqlite3.Cursor) -> None:
    """Make the table of the positions of callers' projections, if it is missing."""
    for statement in _statements("kept"):
        if statement.startswith("CREATE TABLE IF NOT EXISTS leasehold_projection"):
            cursor.execute(statement)


def set_meta(cursor: sqlite3.Cursor, key: str, value: str) -> None:
    """Keep a fact about the store."""
    cursor.execute(_SET, (key, value))


def set_projection_version(cursor: sqlite3.Cursor, version: int) -> None:
    """Note which version of the projections the rows were made by."""
    set_meta(cursor, "projection_version", str(version))
    note_generation(cursor, version)


def generation(projection_version: int) -> int:
    """Return the number by which a write sees that a later version took the store over.

    It stands in the header of the database, where it costs a microsecond to read.
    """
    return SCHEMA_VERSION * _GENERATION_STEP + projection_version


def has_generation(cursor: sqlite3.Cursor, projection_version: int) -> bool:
    """Say whether the header tells the versions; a restored dump has lost it."""
    (found,) = cursor.execute("PRAGMA user_version").fetchone()
    return bool(found == generation(projection_version))


def note_generation(cursor: sqlite3.Cursor, projection_version: int) -> None:
    """Write the versions into the header of the database."""
    cursor.execute(f"PRAGMA user_version = {generation(projection_version)}")


def check_generation(driver: sqlite3.Connection, projection_version: int) -> None:
    """Refuse to write where another version has changed the tables since the opening.

    Raises:
        StoreError: `schema_version`.
    """
    (found,) = driver.execute("PRAGMA user_version").fetchone()
    if found != generation(projection_version):
        schema_version, other = divmod(found, _GENERATION_STEP)
        versions_found = {"schema_version": schema_version, "projection_version": other}
        raise changed_meanwhile(versions_found, SCHEMA_VERSION)


def recreate_projected(cursor: sqlite3.Cursor) -> None:
    """Drop the projections and make them anew, empty."""
    for kind, name in projected_objects(cursor):
        cursor.execute(f"DROP {kind} {name}")
    _run(cursor, "projected")


def projected_objects(cursor: sqlite3.Cursor) -> list[tuple[str, str]]:
    """Return the type and name of each projected table and view that is there."""
    names = _projected_names()
    query = _PROJECTED.format(names=", ".join("?" * len(names)))
    found = {name: kind for kind, name in cursor.execute(query, names)}
    return sorted(((found[name], name) for name in found), reverse=True)


def _projected_names() -> list[str]:
    names = []
    for statement in _statements("projected"):
        words = statement.split(maxsplit=3)
        if words[1] in ("TABLE", "VIEW"):
            names.append(words[2])
    return names


def _run(cursor: sqlite3.Cursor, name: str) -> None:
    for statement in _statements(name):
        cursor.execute(statement)


def _statements(name: str) -> Iterator[str]:
    script = schema_text(_PACKAGE, name)
    return statements(script, is_complete=sqlite3.complete_statement)
