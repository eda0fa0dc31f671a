"""Rebuilds a store, and stops for ever at a given moment of that.

    rebuilding_process.py URL MOMENT

Prints `ready` when it stands there. At `together` all wait, each with what it found,
until a line comes in; then it goes on and prints how many rows differed.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import leasehold

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pausing:
    """A store that stops at a moment."""

    def __init__(self, store: Any, moment: str) -> None:
        self._store = store
        self._moment = moment
        self._repairs = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def reach(self, moment: str) -> None:
        """Stop, if it is here."""
        if moment == self._moment:
            print("ready", flush=True)
            if moment == "together":
                sys.stdin.readline()
            else:
                time.sleep(3_600)

    @contextmanager
    def read(self, **options: Any) -> Iterator[Any]:
        """Stop when all is read, or when that is over."""
        with self._store.read(**options) as session:
            yield session
            self.reach("read")

    @contextmanager
    def write(self, **options: Any) -> Iterator[Any]:
        """Stop when the lock is there, or when rows were changed."""
        self.reach("together")
        with self._store.write(**options) as session:
            repair = session.repair
            session.projection_version()
            self.reach("locked")
            paused = PausingSession(session)

            def repaired(changes: Any) -> None:
                repair(changes)
                session.rows_of("attempt", "x")  # All was sent by then.
                self._repairs += 1
                self.reach("deleted" if self._repairs == 1 else "inserted")

            paused.repair = repaired
            yield paused
            self.reach("differences")


class PausingSession:
    """A session, one method of which can be another one."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


if __name__ == "__main__":
    url, moment = sys.argv[1:]
    with leasehold.open(url, durability="normal") as opened:
        pausing: Any = Pausing(opened._store, moment)
        found = leasehold.Ledger(pausing).rebuild()
        print(len(found))
