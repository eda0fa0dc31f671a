"""How long a lease can be relied on, and when to renew it: arithmetic, no clock.

A renewal that succeeded proves that the lease runs for its ttl from some moment that
was not before the renewal was sent. When the answer came says nothing. So the lease is
relied on until

    sent + ttl − margin

and of several renewals, whatever the order of their answers, the one sent last counts.
The margin is for what a clock of this host cannot know of the store's: the store counts
in whole milliseconds (1 ms), and its clock may be faster. With a margin m and a ttl t
the store may be faster by (m − 1) / (t − m): with the default by 11 %. That is beyond
the 8.3 % by which chronyd slews a clock at most.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError

NS_IN_MS: Final = 1_000_000

_MARGIN_MS_LEAST: Final = 10
_MARGINS_PER_TTL: Final = 10
_RENEWALS_PER_TTL: Final = 3
_JITTER: Final = 0.1
_COMPANY: Final = 0.1
_PAUSE_FIRST: Final = 1 / 32
_PAUSE_LAST: Final = 1 / 4
_PAUSE_NS_MAX: Final = 1_000 * NS_IN_MS
_DOUBLINGS_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the renewals of a lease proved; all in nanoseconds of one clock.

    Attributes:
        ttl_ns: How long the lease runs from a renewal.
        margin_ns: How much earlier it is no longer relied on, less than the ttl.
        sent_at_ns: When the last renewal that succeeded, or the claim, was sent.
    """

    ttl_ns: int
    margin_ns: int
    sent_at_ns: int

    @property
    def until_ns(self) -> int:
        """From when on the lease is not relied on."""
        return self.sent_at_ns + self.ttl_ns - self.margin_ns

    @property
    def interval_ns(self) -> int:
        """How long after a renewal to renew again, at the latest.

        A third of the ttl; with a margin beyond a third, half of what is left.
        """
        trusted_ns = self.ttl_ns - self.margin_ns
        return min(self.ttl_ns // _RENEWALS_PER_TTL, trusted_ns // 2)

    @property
    def company_ns(self) -> int:
        """How much too early to renew in the company of a lease that is due."""
        return int(self.interval_ns * _COMPANY)

    def remaining_ns(self, now_ns: int) -> int:
        """Return how much longer the lease is relied on, 0 when no more."""
        return max(0, self.until_ns - now_ns)

    def has_run_out(self, now_ns: int) -> bool:
        """Say whether the lease is no longer relied on."""
        return now_ns >= self.until_ns

    def renewed(self, *, sent_at_ns: int) -> Self:
        """Return what is proved once a renewal, sent then, has succeeded."""
        return replace(self, sent_at_ns=max(self.sent_at_ns, sent_at_ns))

    def due_ns(self, draw: float) -> int:
        """Return when to renew next.

        Args:
            draw: Evenly from [0, 1): up to a tenth of the interval earlier, so that
                workers that began together do not renew together for ever.
        """
        return self.sent_at_ns + int(self.interval_ns * (1 - _JITTER * draw))

    def pause_ns(self, failures: int, now_ns: int, draw: float) -> int:
        """Return how long to wait after a renewal that the store could not do.

        Twice as long each time: from 1/32 to 1/4 of the interval, at most a second;
        and not beyond the half of what remains, so that there is another try.

        Args:
            failures: How many there were in a row, from 1.
            now_ns: When the last one failed.
            draw: Evenly from [0, 1): up to half shorter.
        """
        doublings = min(failures - 1, _DOUBLINGS_MAX)
        share = min(_PAUSE_FIRST * 2**doublings, _PAUSE_LAST)
        pause_ns = min(self.interval_ns * share, _PAUSE_NS_MAX) * (1 - draw / 2)
        half_ns = self.remaining_ns(now_ns) // 2
        return max(NS_IN_MS, min(int(pause_ns), half_ns))


def margin_of(lease_ttl_ms: int, margin_ms: int | None) -> int:
    """Return the margin in ms: as given; else 1 ms and a tenth of the ttl, at least 10.

    Raises:
        InvalidInputError: The margin leaves nothing of the ttl, or is below 1 ms.
    """
    if margin_ms is not None:
        most = lease_ttl_ms - 1
        return limits.integer("margin_ms", margin_ms, least=1, most=most)
    share_ms = -(-lease_ttl_ms // _MARGINS_PER_TTL)  # Rounded up.
    margin_ms = max(_MARGIN_MS_LEAST, 1 + share_ms)
    if margin_ms >= lease_ttl_ms:
        message = (
            f"a lease of {lease_ttl_ms} ms is too short to be held: the margin is "
            f"{margin_ms} ms; claim with a longer lease_ttl_ms"
        )
        raise InvalidInputError(message)
    return margin_ms
