"""Time that is moved by hand for held leases, and what else their tests share."""

import time

from leasehold.adapters.holding.renewing import HoldTimes

WITHIN_S = 10


def until(condition):
    """Wait until it holds; a test that waits in vain fails."""
    ends_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.002)


def revoke(ledger, handle):
    """Have an operator take the lease away."""
    ledger.revoke_lease(handle.execution_id, actor="dora", reason="it hangs")


class HandTime:
    """The clock that held leases are counted by, moved by hand."""

    def __init__(self, keeper):
        self.now_ns = 0
        self.keeper = keeper
        keeper.times = HoldTimes(now_ns=lambda: self.now_ns)

    def pass_a_third(self):
        """Let a third of a ttl of 30 s pass, and renew."""
        self.now_ns += 10_000_000_000
        self.keeper.renew_due()
