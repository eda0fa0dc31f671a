"""Tenures: one epoch of one execution each, as its events tell of it."""

from dataclasses import dataclass
from uuid import UUID

from leasehold.domain.attempts import LeaseState
from leasehold.domain.states import TenureEnd, TenureOrigin


@dataclass(slots=True, kw_only=True)
class Tenure:
    """A tenure so far; an audit goes on with it as it reads.

    Attributes:
        position: The position of the acquisition.
        last_position: Of the last event that says how long the lease runs.
        lane_id: The lane of the attempt.
        lease_ttl_ms: What a renewal adds to its time.
        expires_at_ms: The expiry that was promised last.
        lease_state: What the events say became of the lease: an expiry that nobody
            recorded leaves it held.
        renewals: How often the lease was renewed.
        last_renewed_at_ms: None without a renewal, as are the two below.
        max_renewal_gap_ms: The longest time from the acquisition or a renewal to the
            next renewal.
        min_headroom_ms: The least time that was left at a renewal.
        refusals: How many recorded refusals presented this lease.
        taken_over_at_ms: When the execution was taken over, by a claim or with a grant;
            None where it was not.
        has_falsely_lost: Whether its holder wrote on after its lease had run out and
            the execution was taken over.
        idle_renewals: Renewals since the last progress or frame.
        is_known_to_be_idle: Whether that was told already.
        recorded_end: The first end that an event tells of, other than the expiry.
        recorded_end_at_ms: When that was.
    """

    execution_id: UUID
    attempt_index: int
    lease_epoch: int
    lease_id: UUID
    worker_id: str
    worker_instance_id: str | None
    lane_id: str
    position: int
    last_position: int
    acquired_at_ms: int
    acquired_by: TenureOrigin
    lease_ttl_ms: int
    expires_at_ms: int
    lease_state: LeaseState = LeaseState.HELD
    renewals: int = 0
    last_renewed_at_ms: int | None = None
    max_renewal_gap_ms: int | None = None
    min_headroom_ms: int | None = None
    refusals: int = 0
    taken_over_at_ms: int | None = None
    has_falsely_lost: bool = False
    idle_renewals: int = 0
    is_known_to_be_idle: bool = False
    recorded_end: TenureEnd | None = None
    recorded_end_at_ms: int | None = None

    def is_live(self, *, now_ms: int) -> bool:
        """Say whether the lease keeps others away."""
        return self.lease_state is LeaseState.HELD and now_ms < self.expires_at_ms

    def has_run_out(self, *, now_ms: int) -> bool:
        """Say whether the lease ran out, be that recorded or not."""
        return self.lease_state is LeaseState.EXPIRED or now_ms >= self.expires_at_ms

    def is_open(self) -> bool:
        """Say whether nothing but its expiry has ended the lease."""
        return (
            self.lease_state is LeaseState.HELD
            or self.lease_state is LeaseState.EXPIRED
        )

    def renew(self, *, expires_at_ms: int, at_ms: int) -> None:
        """Go on until another expiry."""
        last_ms = self.last_renewed_at_ms
        gap_ms = at_ms - (self.acquired_at_ms if last_ms is None else last_ms)
        headroom_ms = self.expires_at_ms - at_ms
        if self.max_renewal_gap_ms is None or gap_ms > self.max_renewal_gap_ms:
            self.max_renewal_gap_ms = gap_ms
        if self.min_headroom_ms is None or headroom_ms < self.min_headroom_ms:
            self.min_headroom_ms = headroom_ms
        self.renewals += 1
        self.idle_renewals += 1
        self.last_renewed_at_ms = at_ms
        self.expires_at_ms = expires_at_ms

    def end(self, how: TenureEnd, *, at_ms: int) -> None:
        """Note how an event ended it; what ended it first counts."""
        self.lease_state = LeaseState.ENDED
        if self.recorded_end is None:
            self.recorded_end, self.recorded_end_at_ms = how, at_ms

    def ended_by(self, *, now_ms: int) -> TenureEnd | None:
        """Say what ended it: the expiry, where it came first; None while it lives."""
        end_ms = self.recorded_end_at_ms
        if end_ms is not None and end_ms < self.expires_at_ms:
            return self.recorded_end
        if end_ms is not None or now_ms >= self.expires_at_ms:
            return TenureEnd.EXPIRED
        return None

    def ended_at_ms(self, *, now_ms: int) -> int | None:
        """Return when it ended: the recorded end or the expiry, which came first."""
        end_ms = self.recorded_end_at_ms
        if end_ms is not None:
            return min(end_ms, self.expires_at_ms)
        return self.expires_at_ms if now_ms >= self.expires_at_ms else None

    def orphaned_ms(self, *, now_ms: int) -> int | None:
        """Return the time from its expiry or revocation to the take-over.

        None where it ended otherwise or nobody took the execution over.
        """
        taken_ms, end_ms = self.taken_over_at_ms, self.ended_at_ms(now_ms=now_ms)
        if taken_ms is None or end_ms is None:
            return None
        if self.ended_by(now_ms=now_ms) not in {TenureEnd.EXPIRED, TenureEnd.OPERATOR}:
            return None
        return max(0, taken_ms - end_ms)
