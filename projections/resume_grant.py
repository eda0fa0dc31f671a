"""The table `resume_grant`: which grants were issued, and which were used."""

from typing import Final

from leasehold.domain.attempts import AttemptLeaseReclaimed
from leasehold.domain.executions import ExecutionResumeGrantIssued
from leasehold.projections.changes import Changes, Insert, Place, Rules, Update

TABLE: Final = "resume_grant"

rules: Final = Rules()


@rules.on(ExecutionResumeGrantIssued)
def issued(event: ExecutionResumeGrantIssued, place: Place) -> Changes:
    """Add the row."""
    return (
        Insert(
            TABLE,
            {
                "grant_id": str(event.grant_id),
                "execution_id": place.execution_id,
                "worker_id": event.worker_id,
                "actor": event.actor,
                "issued_at_ms": event.occurred_at_ms,
                "expires_at_ms": event.expires_at_ms,
                "used_at_ms": None,
            },
        ),
    )


@rules.on(AttemptLeaseReclaimed)
def used(event: AttemptLeaseReclaimed, place: Place) -> Changes:
    """Use the grant up."""
    del place
    key = {"grant_id": str(event.grant_id)}
    return (Update(TABLE, key, {"used_at_ms": event.occurred_at_ms}),)
