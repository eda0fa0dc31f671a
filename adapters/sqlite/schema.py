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
_NAMED: Final = "SELECT type, name FROM sqlite_master WHERE name IN ({names})"


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
    make_views(cursor)
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
    make_views(cursor)


def projected_objects(cursor: sqlite3.Cursor) -> list[tuple[str, str]]:
    """Return the type and name of each projected table and view that is there.

    A table that has the name of a view of `schema/views.sql` is somebody else's.
    """
    projected, views = _made_by("projected"), _made_by("views")
    found = [
        (kind, name)
        for kind, name in _objects_named(cursor, [*projected, *views])
        if kind == "view" or (kind == "table" and name in projected)
    ]
    return sorted(found, reverse=True)


def rows_version(cursor: sqlite3.Cursor, projection_version: int) -> int:
    """Return which version of the projections made the rows; 0 where a table is gone.

    Args:
        cursor: Of a store that has versions.
        projection_version: The version whose tables are known here.
    """
    stored = versions(cursor)["projection_version"]
    names = [
        name
        for name, statement in _made_by("projected").items()
        if not statement.startswith("CREATE INDEX")
    ]
    if stored == projection_version and len(_objects_named(cursor, names)) < len(names):
        return 0
    return stored


def lacks_views(cursor: sqlite3.Cursor) -> bool:
    """Say whether a view over the projected tables, or its index, is not there yet."""
    names = _made_by("views")
    return len(_objects_named(cursor, [*names])) < len(names)


def make_views(cursor: sqlite3.Cursor) -> None:
    """Make the views over the projected tables that are not there yet."""
    made = _made_by("views")
    there = {name for _, name in _objects_named(cursor, [*made])}
    for name, statement in made.items():
        if name not in there:
            cursor.execute(statement)


def _objects_named(cursor: sqlite3.Cursor, names: list[str]) -> list[tuple[str, str]]:
    query = _NAMED.format(names=", ".join("?" * len(names)))
    return cursor.execute(query, names).fetchall()


def _made_by(script: str) -> dict[str, str]:
    """Return the statements of a script by the names of what they make."""
    return {
        words[2]: statement
        for statement in _statements(script)
        if (words := statement.split(maxsplit=3))[1] in ("TABLE", "VIEW", "INDEX")
    }


def _run(cursor: sqlite3.Cursor, name: str) -> None:
    for statement in _statements(name):
        cursor.execute(statement)


def _statements(name: str) -> Iterator[str]:
    script = schema_text(_PACKAGE, name)
    return statements(script, is_complete=sqlite3.complete_statement)
