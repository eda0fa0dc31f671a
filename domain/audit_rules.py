"""What each event means for the leases of its execution, and what is wrong with it.

Each rule stands in docs/audit.md with its source. After a finding a rule goes on from
what the event says, so that one fault is told of once and not again at each later
event.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from leasehold.domain import audit_wording
from leasehold.domain.attempts import (
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptEvent,
    AttemptFailed,
    AttemptInterrupted,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptLeaseRevoked,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    LeaseState,
)
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
    ExecutionReprioritised,
    ExecutionResumeGrantIssued,
    ExecutionRetryScheduled,
)
from leasehold.domain.findings import AuditCheck
from leasehold.domain.frames import FrameAppended
from leasehold.domain.redaction import NO_DIGEST
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.states import TenureEnd, TenureOrigin
from leasehold.domain.tenures import Tenure

HEADROOM_PARTS: Final = 10
"""Little headroom is less than one part in ten of the ttl: such a holder loses its
lease by a pause of a tenth of what its ttl was chosen to bear."""

IDLE_RENEWALS: Final = 20
"""So many renewals in a row without progress or a frame are worth a look. At one in
every third of the ttl (docs/tutorial.md) that is seven ttls: long enough for work that
reports at all, while the heartbeat of a worker that hangs never stops."""


def created(audit: AuditState, event: ExecutionCreated) -> None:
    """Keep the lane, and whether the history is redacted."""
    audit.lane_id = event.lane_id
    audit.is_redacted = event.arguments_sha256 == NO_DIGEST


def started(audit: AuditState, event: AttemptStarted) -> None:
    """Begin a tenure by a claim, also by one that takes over."""
    audit.attempts += 1
    audit.lane_id = event.lane_id
    origin = TenureOrigin.RECLAIM if event.taken_over else TenureOrigin.CLAIM
    _acquire(audit, event, origin)


def resumed(audit: AuditState, event: AttemptLeaseReclaimed) -> None:
    """Begin a tenure with a resume grant."""
    _acquire(audit, event, TenureOrigin.RESUME_GRANT)


def _acquire(
    audit: AuditState,
    event: AttemptStarted | AttemptLeaseReclaimed,
    origin: TenureOrigin,
) -> None:
    before = audit.tenure
    is_new = origin is TenureOrigin.CLAIM
    if before is not None and before.is_live(now_ms=audit.at_ms):
        text = audit_wording.acquisition(event, origin, before)
        check = AuditCheck.OVERLAPPING_TENURES if is_new else AuditCheck.EARLY_TAKEOVER
        audit.tell(check, text)
    if event.lease_epoch != audit.last_epoch + 1:
        text = audit_wording.epoch(event, audit.last_epoch)
        audit.tell(AuditCheck.EPOCH_OUT_OF_SEQUENCE, text)
    if before is not None and not is_new:
        before.taken_over_at_ms = audit.at_ms
    tenure = Tenure(
        execution_id=audit.execution_id,
        attempt_index=event.attempt_index,
        lease_epoch=event.lease_epoch,
        lease_id=event.lease_id,
        worker_id=event.worker_id,
        worker_instance_id=event.worker_instance_id,
        lane_id=audit.lane_id,
        position=audit.position,
        last_position=audit.position,
        acquired_at_ms=audit.at_ms,
        acquired_by=origin,
        lease_ttl_ms=event.lease_ttl_ms,
        expires_at_ms=event.lease_expires_at_ms,
    )
    if tenure.worker_instance_id is not None:
        _remember(audit, tenure.worker_instance_id, tenure)
    audit.tenures.append(tenure)
    audit.last_epoch = event.lease_epoch


def _remember(audit: AuditState, instance: str, tenure: Tenure) -> None:
    before = audit.instances.get(instance)
    if before is not None and before.recorded_end is None and not before.refusals:
        text = audit_wording.instance(instance, tenure, before)
        audit.tell(AuditCheck.SHARED_INSTANCE, text)
    audit.instances[instance] = tenure


def renewed(audit: AuditState, event: AttemptLeaseRenewed) -> None:
    """Hold a renewal against the lease that it renews."""
    tenure = audit.tenure
    is_lease = tenure is not None and event.lease_id == tenure.lease_id
    is_epoch = tenure is not None and event.lease_epoch == tenure.lease_epoch
    if tenure is None or not tenure.is_open() or not (is_lease or is_epoch):
        audit.tell_foreign(event)
        return
    if not (is_lease and is_epoch) or _is_of_another(event, tenure):
        text = audit_wording.changed_renewal(event, tenure)
        audit.tell(AuditCheck.BAD_RENEWAL, text)
    elif tenure.has_run_out(now_ms=audit.at_ms):
        audit.tell_late(event, tenure)
    elif event.lease_expires_at_ms <= tenure.expires_at_ms:
        text = audit_wording.short_renewal(event, tenure)
        audit.tell(AuditCheck.BAD_RENEWAL, text)
    else:
        headroom_ms = tenure.expires_at_ms - audit.at_ms
        if headroom_ms * HEADROOM_PARTS < tenure.lease_ttl_ms:
            text = audit_wording.headroom(tenure, headroom_ms)
            audit.tell(AuditCheck.LITTLE_HEADROOM, text)
    tenure.renew(expires_at_ms=event.lease_expires_at_ms, at_ms=audit.at_ms)
    tenure.last_position = audit.position
    # The frames of a redacted history were left out.
    if tenure.idle_renewals == IDLE_RENEWALS and not (
        tenure.is_known_to_be_idle or audit.is_redacted
    ):
        tenure.is_known_to_be_idle = True
        audit.tell(AuditCheck.NO_PROGRESS, audit_wording.idle(tenure))


def worked(audit: AuditState, event: AttemptProgressed | FrameAppended) -> None:
    """See that the holder works."""
    tenure = _checked_writer(audit, event)
    if tenure is not None:
        tenure.idle_renewals = 0


def succeeded(audit: AuditState, event: AttemptSucceeded) -> None:
    """End a tenure with the work."""
    tenure = _checked_writer(audit, event)
    if tenure is not None:
        tenure.end(TenureEnd.COMPLETED, at_ms=audit.at_ms)


def attempt_failed(audit: AuditState, event: AttemptFailed) -> None:
    """End a tenure with a failure."""
    tenure = _checked_writer(audit, event)
    if tenure is not None:
        is_retried = event.retry_at_ms is not None
        how = TenureEnd.RETRY_SCHEDULED if is_retried else TenureEnd.FAILED
        tenure.end(how, at_ms=audit.at_ms)


def retried(audit: AuditState, event: ExecutionRetryScheduled) -> None:
    """Check whose failure is retried."""
    _check_second_half(audit, event)


def completed(audit: AuditState, event: ExecutionCompleted) -> None:
    """End the execution by its worker."""
    _check_second_half(audit, event)
    audit.ended_with = event.TOPIC


def failed(audit: AuditState, event: ExecutionFailed) -> None:
    """End the execution by its worker, or past the cap of take-overs."""
    if event.lease_id is not None:
        _check_second_half(audit, event)
    audit.ended_with = event.TOPIC


def stopped(audit: AuditState, event: ExecutionCancelled | ExecutionExpired) -> None:
    """End the execution, whoever holds it."""
    audit.ended_with = event.TOPIC


def replayed(audit: AuditState, _: ExecutionReplayed) -> None:
    """Let it go on."""
    audit.ended_with = None


def expired(audit: AuditState, event: AttemptLeaseExpired) -> None:
    """Check that a lease had run out that someone noticed to have."""
    tenure = _named_tenure(audit, event)
    if tenure is not None and tenure.lease_state is LeaseState.HELD:
        if tenure.is_live(now_ms=audit.at_ms):
            audit.tell_early(event, tenure, "its expiry was recorded")
        tenure.lease_state = LeaseState.EXPIRED
        tenure.last_position = audit.position


def interrupted(audit: AuditState, event: AttemptInterrupted) -> None:
    """Check that the lease of an attempt that a claim closes is free."""
    tenure = _named_tenure(audit, event)
    if tenure is not None:
        if tenure.is_live(now_ms=audit.at_ms):
            audit.tell_early(event, tenure, "its attempt was interrupted")
        tenure.lease_state = LeaseState.ENDED


def revoked(audit: AuditState, event: AttemptLeaseRevoked) -> None:
    """End a tenure by an operator's word."""
    tenure = _named_tenure(audit, event)
    if tenure is not None:
        tenure.end(TenureEnd.OPERATOR, at_ms=audit.at_ms)
        tenure.lease_state = LeaseState.REVOKED
        tenure.last_position = audit.position


def cancelled(audit: AuditState, event: AttemptCancelled) -> None:
    """End a tenure with its execution; also a live one."""
    tenure = _named_tenure(audit, event)
    if tenure is not None:
        tenure.end(TenureEnd.CANCELLED, at_ms=audit.at_ms)


def deadline_passed(audit: AuditState, event: AttemptDeadlinePassed) -> None:
    """End a tenure with its execution; also a live one."""
    tenure = _named_tenure(audit, event)
    if tenure is not None:
        tenure.end(TenureEnd.DEADLINE, at_ms=audit.at_ms)


def refused(audit: AuditState, event: RefusalRecorded) -> None:
    """Tell of a write that was turned away, and count it for its lease."""
    audit.refusals += audit.is_in_scope()
    for tenure in reversed(audit.tenures):
        if tenure.lease_id == event.lease_id:
            tenure.refusals += 1
            if tenure.taken_over_at_ms is not None:
                ended_by = tenure.ended_by(now_ms=audit.at_ms)
                tenure.has_falsely_lost |= ended_by is TenureEnd.EXPIRED
            break
    current_epoch = event.current_lease_epoch or audit.last_epoch
    text = audit_wording.refusal(event, current_epoch)
    audit.tell(AuditCheck.REFUSED_WRITE, text)


def _checked_writer(
    audit: AuditState,
    event: AttemptProgressed | AttemptSucceeded | AttemptFailed | FrameAppended,
) -> Tenure | None:
    """Check that a write comes from the holder and in time; return its tenure.

    None where it comes from somebody else.
    """
    tenure = audit.tenure
    if (
        tenure is None
        or not tenure.is_open()
        or event.lease_epoch != tenure.lease_epoch
        or event.lease_id != tenure.lease_id
        or _is_of_another(event, tenure)
    ):
        audit.tell_foreign(event)
        return None
    if tenure.has_run_out(now_ms=audit.at_ms):
        audit.tell_late(event, tenure)
    return tenure


def _check_second_half(
    audit: AuditState,
    event: ExecutionRetryScheduled | ExecutionCompleted | ExecutionFailed,
) -> None:
    """Check what follows the end of an attempt in one operation, or stands alone."""
    tenure = audit.tenure
    if (
        tenure is None
        or event.lease_id != tenure.lease_id
        or event.lease_epoch != tenure.lease_epoch
        or not (audit.continues or tenure.is_open())
    ):
        audit.tell_foreign(event)
    elif not audit.continues and tenure.has_run_out(now_ms=audit.at_ms):
        audit.tell_late(event, tenure)


def _named_tenure(audit: AuditState, event: AttemptEvent) -> Tenure | None:
    """Return the last tenure, if an event that ends one names it."""
    tenure = audit.tenure
    if (
        tenure is not None
        and event.lease_id == tenure.lease_id
        and event.lease_epoch == tenure.lease_epoch
    ):
        return tenure
    audit.tell_foreign(event)
    return None


def _is_of_another(event: AttemptEvent | FrameAppended, tenure: Tenure) -> bool:
    """Say whether an event names another attempt or holder than its lease has."""
    if event.attempt_index != tenure.attempt_index:
        return True
    return isinstance(event, AttemptEvent) and (
        event.worker_id != tenure.worker_id
        or event.worker_instance_id != tenure.worker_instance_id
    )


RULES: Final[Mapping[type[DomainEvent], Callable[[AuditState, Any], None] | None]] = {
    ExecutionCreated: created,
    ExecutionBecameEligible: None,
    ExecutionClaimed: None,
    ExecutionResumeGrantIssued: None,
    ExecutionReprioritised: None,
    ExecutionRetryScheduled: retried,
    ExecutionFailed: failed,
    ExecutionCompleted: completed,
    ExecutionCancelled: stopped,
    ExecutionExpired: stopped,
    ExecutionReplayed: replayed,
    AttemptStarted: started,
    AttemptProgressed: worked,
    AttemptLeaseRenewed: renewed,
    AttemptLeaseExpired: expired,
    AttemptLeaseReclaimed: resumed,
    AttemptLeaseRevoked: revoked,
    AttemptInterrupted: interrupted,
    AttemptSucceeded: succeeded,
    AttemptFailed: attempt_failed,
    AttemptCancelled: cancelled,
    AttemptDeadlinePassed: deadline_passed,
    FrameAppended: worked,
    RefusalRecorded: refused,
}
"""The rule for each event; None where it tells nothing of leases."""
