"""Forking a process that has SQLite files open.

SQLite keeps a table of the locks that a process holds on each file. A forked child has
that table but not the locks, so a connection of its own to the same file would go
without them and damage it ("How To Corrupt An SQLite Database File", section 2.6, by
the authors of SQLite). So all connections to files are closed before a fork, and made
anew when they are next needed; where one cannot be closed, because a call does not end,
the child may not open that file.
"""

import os
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from leasehold.adapters.sqlite.transacting import Transactions

_watched: "Final[weakref.WeakSet[Transactions]]" = weakref.WeakSet()
_holding: Final = ExitStack()
_still_open: Final[set[Path]] = set()
_inherited: Final[set[Path]] = set()


def watch(transactions: "Transactions") -> None:
    """Close the connections of these transactions around every fork."""
    _watched.add(transactions)


def is_inherited(path: Path) -> bool:
    """Say whether this process was forked with a connection to the file open."""
    return path.resolve() in _inherited


def _before() -> None:
    _still_open.clear()
    for transactions in list(_watched):
        closed = _holding.enter_context(transactions.without_connections())
        if not closed and transactions.target.path is not None:
            _still_open.add(transactions.target.path.resolve())


def _after_in_parent() -> None:
    _holding.close()


def _after_in_child() -> None:
    _inherited.update(_still_open)
    _watched.clear()
    _holding.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=_after_in_parent,
        after_in_child=_after_in_child,
    )
