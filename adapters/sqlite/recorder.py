"""The event recorder of `eventsourcing`, on a table whose positions are declared."""

from eventsourcing.sqlite import SQLiteApplicationRecorder

from leasehold.adapters.sqlite.connecting import Datastore


class Recorder(SQLiteApplicationRecorder):
    """Insert into `stored_events` as `schema/kept.sql` declares it.

    The package's own table leaves the position to SQLite's implicit rowid, which
    VACUUM may renumber.
    """

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self.insert_events_statement = (
            "INSERT INTO stored_events "
            "(originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"
        )

    def construct_create_table_statements(self) -> list[str]:
        """Return none: `schema` makes the tables."""
        return []
