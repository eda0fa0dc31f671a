"""Making the projections anew from the events, before anybody works with them."""

from leasehold.adapters import codec, walking
from leasehold.adapters.store import Store
from leasehold.projections.registry import PROJECTION_VERSION


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
        for row in walking.log(session):
            session.project(codec.decode(*row))
