"""Rows in dictionaries, with a way to tell events without a log."""

from leasehold.domain.events import DomainEvent
from leasehold.projections.changes import Place
from leasehold.projections.registry import project
from leasehold.projections.tables import Tables


class PlainTables(Tables):
    """All tables, as rows by key."""

    def tell(self, *events: DomainEvent) -> None:
        """Project events, each at the next position."""
        for position, event in enumerate(events, start=1):
            place = Place(str(event.execution_id), position, f"{position:064x}")
            self.apply(project(event, place), position)
