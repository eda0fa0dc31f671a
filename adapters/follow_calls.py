"""The operations by which programs follow the log."""

from collections.abc import Collection
from uuid import UUID

from leasehold.adapters.commands import Commands
from leasehold.adapters.following import Subscription
from leasehold.adapters.projecting import (
    Projection,
    RunningProjection,
    check_projection,
)
from leasehold.adapters.reader import check_topics
from leasehold.domain import limits


class FollowCommands(Commands):
    """Events as they are committed, and what callers project from them."""

    def subscribe(
        self,
        after: int | None = None,
        topics: Collection[str] = (),
        execution_id: UUID | None = None,
    ) -> Subscription:
        """Follow the log: an iterator that goes on as events are committed.

        Also those of other processes and hosts. Nothing is left out, whatever commits
        late: it stops at the settled position and waits there. To go on after an
        error of the store, iterate on; in another process, give it the `position` of
        this one.

        Args:
            after: The position of the last event seen; 0 for the beginning, None for
                now.
            topics: Only of these topics.
            execution_id: Only of this execution, over all its streams.

        Raises:
            InvalidInputError: An argument breaks its rule.
            StoreError: The store could not be read.
        """
        wanted = check_topics(topics)
        if execution_id is not None:
            limits.identifier("execution_id", execution_id)
        if after is None:
            with self._store.read(once=True) as session:
                after = int(session.fetch_all("settled_position")[0][0])
        limits.integer("after", after, least=0, most=limits.POSITION_MAX)
        return Subscription(self._store, after, wanted, execution_id)

    def run_projection(self, projection: Projection, name: str) -> RunningProjection:
        """Bring a projection of your own up to date, and keep it so.

        Its rows and its position are written in one transaction: each event takes
        effect once, whenever the process ends. Used as a context manager, a thread
        keeps it up; else call `catch_up` when it suits.

        Args:
            projection: Has `create(execute)`, which makes tables where they are not
                there, `apply(recorded, execute)`, and `topics` where it does not want
                all. `execute(statement, *values)` runs SQL of the store's database
                and returns the rows; values stand as `?` in the statement on SQLite
                and as `%s` on PostgreSQL (and a `%` beside values as `%%`).
            name: What its position is stored under, 1 to 64 bytes; another name
                begins at the first event.

        Returns:
            The projection, caught up with all that was settled.

        Raises:
            InvalidInputError: It is no projection, or the name breaks its rule.
            StoreError: The store could not do it.
            Exception: What `apply` raised; nothing of that transaction is kept.
        """
        check_projection(projection, name)
        return RunningProjection(self._store, projection, name)
