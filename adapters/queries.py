"""Reading the `.sql` files: one statement each, named by what it answers."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

_VIEW: Final = "tenure_recorded"
"""The view that queries read; those who look into a store read the others."""


@cache
def named_queries(package: str, folder_name: str = "queries") -> Mapping[str, str]:
    """Return the queries of a store's package, by name, without their comments."""
    folder = files(package) / folder_name
    return {
        file.name.removesuffix(".sql"): _with_view(
            package, _without_comments(file.read_text("utf-8"))
        )
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }


def _with_view(package: str, query: str) -> str:
    """Give a query the view that it reads: a store that is older may not have it.

    One that is opened to be read only, or by a user who owns nothing, does not get it.
    """
    if f"FROM {_VIEW} " not in query:
        return query
    script = _without_comments(schema_text(package, "views"))
    _, _, rest = script.partition(f"CREATE VIEW {_VIEW} AS\n")
    select, _, _ = rest.partition(";")
    return f"WITH {_VIEW} AS (\n{select}\n)\n{query}"


@cache
def schema_text(package: str, name: str) -> str:
    """Return the text of a schema file of a store's package."""
    return (files(package) / "schema" / f"{name}.sql").read_text("utf-8")


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


def statements(script: str, *, is_complete: Callable[[str], bool]) -> Iterator[str]:
    """Split a schema script into its statements.

    Args:
        script: Several statements, with comment lines.
        is_complete: Says of a text whether it ends a statement; the bodies of
            triggers have semicolons of their own.
    """
    pending = ""
    for line in _without_comments(script).splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and is_complete(pending):
            yield pending.strip()
            pending = ""
