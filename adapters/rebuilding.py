"""Making the projections anew from the events, before anybody works with them."""

from collections.abc import Iterator
from typing import Final

from leasehold.adapters import codec
from leasehold.adapters.store import ReadSession, Store
from leasehold.domain.records import RecordedEvent
from leasehold.projections.registry import PROJECTION_VERSION

_PAGE: Final = 1_000


def rebuild_projections(store: Store, *, only_older: bool = False) -> None:
    """Make the projections of a store anew, in one transaction.

    Args:
        store: The store.
        only_older: Do nothing where another process has done so meanwhile.

    Raises:
        StoreError: `corrupt_event`: an event cannot be read; the old rows stand.
    """
    with store.write(any_version=True) as session:
        if only_older and session.projection_version() >= PROJECTION_VERSION:
            return
        session.empty_projections()
        for recorded in _log(session):
            session.project(recorded)


def _log(session: ReadSession) -> Iterator[RecordedEvent]:
    """Read the whole log, in pages."""
    after = 0
    while True:
        rows = session.fetch_all("log", after=after, most=_PAGE)
        for row in rows:
            yield codec.decode(*row)
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]
