"""Making and checking the tables of a PostgreSQL store."""

from collections.abc import Iterable
from typing import Any, Final

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from leasehold.adapters.queries import schema_text, statements
from leasehold.adapters.versions import read_versions
from leasehold.projections.registry import PROJECTION_VERSION

SCHEMA_VERSION: Final = 1
"""Rises with any change to the tables that are kept (`schema/kept.sql`)."""

_PACKAGE: Final = __package__
_CREATION_LOCK: Final = 0x6C65617365686F6C
"""The name "leasehol" as a number: whoever makes tables holds this advisory lock."""

_HAS_META: Final = "SELECT to_regclass('leasehold_meta') IS NOT NULL"
_VERSIONS: Final = "SELECT key, value FROM leasehold_meta"
_SET: Final = (
    "INSERT INTO leasehold_meta (key, value) VALUES (%s, %s) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_PROJECTED: Final = (
    "SELECT c.relkind, c.relname FROM pg_catalog.pg_class AS c "
    "WHERE (c.relname = ANY(%s) AND c.relkind IN ('r', 'v') "
    "OR c.relname = ANY(%s) AND c.relkind = 'v') "
    "AND c.relnamespace = current_schema()::regnamespace "
    "ORDER BY c.relkind DESC, c.relname"
)
_RIGHTS: Final = (
    "SELECT c.relname, a.privilege_type, r.rolname "
    "FROM pg_catalog.pg_class AS c "
    "CROSS JOIN LATERAL aclexplode(c.relacl) AS a "
    "LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee "
    "WHERE c.relname = ANY(%s) AND a.grantee <> c.relowner "
    "AND c.relnamespace = current_schema()::regnamespace"
)
_NAMED: Final = (
    "SELECT c.relname FROM pg_catalog.pg_class AS c "
    "WHERE c.relname = ANY(%s) "
    "AND c.relnamespace = current_schema()::regnamespace"
)
_MAY_MAKE_VIEWS: Final = (
    "SELECT 1 FROM pg_catalog.pg_class AS c "
    "WHERE c.relname = 'lease_event' "
    "AND c.relnamespace = current_schema()::regnamespace "
    "AND c.relowner = current_user::regrole "
    "AND has_schema_privilege(c.relnamespace, 'CREATE') "
    "AND current_setting('transaction_read_only') = 'off'"
)
_SEEN_THROUGH_VIEWS: Final = ("lease_event", "attempt")
_LOADED: Final = "leasehold_loaded"
_KINDS: Final = {"r": "TABLE", "v": "VIEW"}


def versions(connection: Connection[Any]) -> dict[str, int]:
    """Return the versions that a store was written by; empty where it has no tables.

    Raises:
        StoreError: `schema_version`: the table of versions is not as it was made.
    """
    (has_meta,) = _values(connection, _HAS_META)[0]
    return read_versions(_values(connection, _VERSIONS)) if has_meta else {}


def create(connection: Connection[Any], schema: str | None) -> dict[str, int]:
    """Make all tables, unless another process has just done so; return the versions.

    Args:
        connection: With a transaction open.
        schema: Where to make them, and to be made itself when it is not there; None
            for the default schema of the connection.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
    if schema is not None:
        found = _values(
            connection,
            "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s",
            schema,
        )
        if not found:
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
    _pin_search_path(connection)
    stored = versions(connection)
    if stored:
        return stored
    _run(connection, "kept")
    _run(connection, "projected")
    _make_views(connection)
    set_meta(connection, "schema_version", str(SCHEMA_VERSION))
    set_projection_version(connection)
    return versions(connection)


def set_meta(connection: Connection[Any], key: str, value: str) -> None:
    """Keep a fact about the store."""
    connection.execute(_SET, (key, value))


def set_projection_version(connection: Connection[Any]) -> None:
    """Note that the rows were made by this version of the projections."""
    set_meta(connection, "projection_version", str(PROJECTION_VERSION))


def rows_version(connection: Connection[Any]) -> int:
    """Return which version of the projections made the rows; 0 where a table is gone.

    Args:
        connection: To a store that has versions.
    """
    stored = versions(connection)["projection_version"]
    names = [
        name
        for name, statement in _made_by("projected").items()
        if not statement.startswith("CREATE INDEX")
    ]
    found = _values(connection, _NAMED, names)
    if stored == PROJECTION_VERSION and len(found) < len(names):
        return 0
    return stored


def recreate_projected(connection: Connection[Any]) -> None:
    """Drop the projections and make them anew, empty, with the rights they had.

    What others have built on them (a view, say) is not dropped with them: it stands in
    the way, and the error names it.
    """
    _pin_search_path(connection)
    tables, views = [*_made_by("projected")], [*_made_by("views")]
    rights = _values(connection, _RIGHTS, [*tables, *views])
    for kind, name in _values(connection, _PROJECTED, tables, views):
        drop = SQL("DROP {} {} {}").format(
            SQL(_KINDS[kind]),
            Identifier(name),
            # Functions of our own return its rows; they are made anew as well.
            SQL("CASCADE" if name == _LOADED else "RESTRICT"),
        )
        connection.execute(drop)
    _run(connection, "projected")
    _grant(connection, (right for right in rights if right[0] in tables))
    _make_views(connection)
    _grant(connection, (right for right in rights if right[0] in views))


def make_later_views(connection: Connection[Any], stored: dict[str, int]) -> None:
    """Make the views that were not known yet when the store was made.

    Nothing is done where somebody else owns the tables: reads do without the views.

    Args:
        connection: With a transaction open.
        stored: The versions of the store; tables of other ones are left as they are.
    """
    names = [*_made_by("views")]
    known = {"schema_version": SCHEMA_VERSION, "projection_version": PROJECTION_VERSION}
    if stored != known or len(_values(connection, _NAMED, names)) == len(names):
        return
    if _values(connection, _MAY_MAKE_VIEWS):
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
        _pin_search_path(connection)
        _make_views(connection)


def _make_views(connection: Connection[Any]) -> None:
    """Make the views that are not there yet, for all who may read what they show."""
    made = _made_by("views")
    there = {name for (name,) in _values(connection, _NAMED, [*made])}
    readers = [
        {
            role
            for _, right, role in _values(connection, _RIGHTS, [table])
            if right == "SELECT"
        }
        for table in _SEEN_THROUGH_VIEWS
    ]
    for name, statement in made.items():
        if name in there:
            continue
        connection.execute(statement.encode(), prepare=False)
        if statement.startswith("CREATE VIEW"):
            may_read = sorted(set.intersection(*readers), key=str)
            _grant(connection, ((name, "SELECT", role) for role in may_read))


def _grant(
    connection: Connection[Any], rights: Iterable[tuple[str, str, str | None]]
) -> None:
    """Grant rights: on what, which, and to whom; None for everybody."""
    for name, right, role in rights:
        grantee = SQL("PUBLIC") if role is None else Identifier(role)
        grant = SQL("GRANT {} ON {} TO {}")
        connection.execute(grant.format(SQL(right), Identifier(name), grantee))


def _pin_search_path(connection: Connection[Any]) -> None:
    """Leave one schema on the path, so that the functions keep just that one.

    The temporary tables of a session come last: none may stand in for the log.
    """
    connection.execute(
        "SELECT set_config('search_path', "
        "quote_ident(current_schema()) || ', pg_temp', TRUE)"
    )


def _run(connection: Connection[Any], name: str) -> None:
    for statement in _statements(name):
        connection.execute(statement.encode(), prepare=False)


def _made_by(script: str) -> dict[str, str]:
    """Return the statements of a script by the names of what they make."""
    return {
        words[2]: statement
        for statement in _statements(script)
        if (words := statement.split(maxsplit=3))[1] in ("TABLE", "VIEW", "INDEX")
    }


def _statements(name: str) -> list[str]:
    script = schema_text(_PACKAGE, name)
    return list(statements(script, is_complete=_ends_no_body))


def _ends_no_body(text: str) -> bool:
    """Say whether a text is a whole statement: the body of a function is closed."""
    return text.count("$$") % 2 == 0


def _values(
    connection: Connection[Any], query: str, *parameters: object
) -> list[tuple[Any, ...]]:
    return [
        tuple(row.values()) for row in connection.execute(query, parameters).fetchall()
    ]
