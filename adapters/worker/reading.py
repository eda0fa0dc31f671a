"""Reading what a handler is given from the store."""

from typing import Any
from uuid import UUID

from leasehold.adapters.ledger import Ledger
from leasehold.adapters.worker.contexts import LastFailure, Work
from leasehold.adapters.worker.jobs import Job
from leasehold.domain.errors import NotFoundError


def read_work(ledger: Ledger, job: Job) -> Work:
    """Read what is to be done.

    Raises:
        LeaseholdError: The store could not be read.
    """
    row = ledger.read.execution(job.execution_id)
    if row is None:
        message = f"execution {job.execution_id} is not in this store"
        raise NotFoundError(message)
    last_failure = None
    if job.handle.attempt_index:
        before = ledger.read.attempt(job.execution_id, job.handle.attempt_index - 1)
        if before is not None and before.failure_class is not None:
            last_failure = LastFailure(
                before.failure_class,
                before.failure_message or "",
                before.failure_detail,
            )
    return Work(row.payload, row.tags, last_failure)


def read_document(
    ledger: Ledger, execution_id: UUID, attempt_index: int
) -> dict[str, Any]:
    """Read what the summary frames of an attempt add up to; {} where it has none.

    Raises:
        LeaseholdError: The store could not be read.
    """
    row = ledger.read.summary(execution_id, attempt_index)
    return {} if row is None else row.document
