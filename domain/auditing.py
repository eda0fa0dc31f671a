"""The audit of one execution: a fold over its events, in the order of positions.

It looks at nothing but the events, so that the tables are among the things that can be
held against it. What it cannot judge it does not judge: behind an event that is missing
or damaged it keeps still about leases, until the next acquisition tells anew who holds
the execution.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final
from uuid import UUID

from leasehold.domain import audit_wording
from leasehold.domain.attempts import (
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptFailed,
    AttemptInterrupted,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptStarted,
    AttemptSucceeded,
    LeaseState,
)
from leasehold.domain.audit_rules import RULES
from leasehold.domain.audit_state import AuditState
from leasehold.domain.events import DomainEvent
from leasehold.domain.executions import (
    ExecutionBecameEligible,
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionReplayed,
    ExecutionRetryScheduled,
)
from leasehold.domain.findings import AuditCheck, AuditFinding
from leasehold.domain.refusals import RefusalRecorded

Gap = tuple[int, int]
"""Between two positions, events are missing or damaged."""

_NEXT: Final[Mapping[type[DomainEvent] | None, frozenset[type[DomainEvent]]]] = {
    ExecutionBecameEligible: frozenset({ExecutionClaimed}),
    ExecutionClaimed: frozenset({AttemptStarted}),
    AttemptLeaseExpired: frozenset({AttemptInterrupted}),
    AttemptInterrupted: frozenset({ExecutionClaimed, ExecutionFailed}),
    AttemptSucceeded: frozenset({ExecutionCompleted}),
    AttemptFailed: frozenset({ExecutionRetryScheduled, ExecutionFailed}),
    AttemptCancelled: frozenset({ExecutionCancelled}),
    AttemptDeadlinePassed: frozenset({ExecutionExpired}),
}
"""Which events go on with the operation that the one before them belongs to."""

_NOTHING: Final[frozenset[type[DomainEvent]]] = frozenset()
_ALLOWED_AFTER_THE_END: Final = frozenset({ExecutionReplayed, RefusalRecorded})
_ACQUIRING: Final = frozenset({AttemptStarted, AttemptLeaseReclaimed})
_REOPENING: Final = _ACQUIRING | {ExecutionClaimed}


class ExecutionAudit:
    """The audit of one execution, told of one event after another.

    Attributes:
        state: What is known so far.
    """

    __slots__ = (
        "_gaps",
        "_last_kind",
        "_last_reading",
        "_sure_from",
        "state",
    )

    def __init__(
        self,
        execution_id: UUID,
        found: Callable[[AuditFinding], None],
        *,
        gaps: Iterable[Gap] = (),
        since_ms: int | None = None,
    ) -> None:
        """Begin before the first event.

        Args:
            execution_id: The execution.
            found: Told of each finding.
            gaps: Where events are missing or damaged.
            since_ms: What was recorded before is folded and not told of.
        """
        self.state = AuditState(
            execution_id=execution_id, found=found, since_ms=since_ms
        )
        self._gaps = sorted(gaps, reverse=True)
        self._sure_from = 0
        self._last_kind: type[DomainEvent] | None = None
        self._last_reading: tuple[int, int | None] | None = None

    def take(self, event: DomainEvent, position: int) -> None:
        """Go on with the next event."""
        state, kind, at_ms = self.state, type(event), event.occurred_at_ms
        state.position, state.at_ms = position, at_ms
        if self._gaps:
            self._look_for_gaps()
        state.continues = kind in _NEXT.get(self._last_kind, _NOTHING)
        if state.told and not state.continues:
            state.told.clear()
        if event.clock_at_ms is not None or at_ms < state.last_ms:
            self._tell_regression(event)
        if at_ms > state.last_ms and not state.is_unsure:
            state.last_ms = at_ms
        if (kind is ExecutionCreated) is not (self._last_kind is None):
            text = audit_wording.misplaced(event)
            state.tell(AuditCheck.UNREADABLE_EVENT, text)
        self._last_kind = kind
        if state.ended_with is not None and kind not in _ALLOWED_AFTER_THE_END:
            text = audit_wording.after_the_end(event, state.ended_with)
            state.tell(AuditCheck.AFTER_THE_END, text)
            if kind not in _REOPENING:
                return
            state.ended_with = None
        rule = RULES[kind]
        if rule is not None:
            rule(state, event)
        if state.is_unsure and kind in _ACQUIRING:
            state.is_unsure = state.position < self._sure_from

    def miss(self, position: int) -> None:
        """Note that the next event cannot be read."""
        self._sure_from = max(self._sure_from, position + 1)
        self.state.is_unsure = True

    def _look_for_gaps(self) -> None:
        while self._gaps and self.state.position > self._gaps[-1][0]:
            self._sure_from = max(self._sure_from, self._gaps.pop()[1])
            self.state.is_unsure = True

    def _tell_regression(self, event: DomainEvent) -> None:
        reading = (event.occurred_at_ms, event.clock_at_ms)
        if reading != self._last_reading:  # Else of the same operation.
            self._last_reading = reading
            text = audit_wording.regression(event, self.state.last_ms)
            self.state.tell(AuditCheck.CLOCK_REGRESSION, text)

    def finish(self, now_ms: int) -> None:
        """Look at how it stands at the time of the audit.

        For an execution that is never before its last event, as for the ledger.
        """
        state = self.state
        state.now_ms = now_ms = max(now_ms, state.last_ms)
        tenure = state.tenure
        if tenure is None or state.ended_with is not None or state.is_unsure:
            return
        if tenure.lease_state is LeaseState.REVOKED:
            lost_at_ms = tenure.ended_at_ms(now_ms=now_ms) or now_ms
        elif tenure.is_open() and tenure.has_run_out(now_ms=now_ms):
            lost_at_ms = tenure.expires_at_ms
        else:
            return
        state.orphaned = True
        text = audit_wording.orphan(tenure, lost_at_ms=lost_at_ms, now_ms=now_ms)
        state.tell_at(tenure.last_position, AuditCheck.ORPHAN, text)
