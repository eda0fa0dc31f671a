"""Checking that what was cut short left nothing behind."""


def check_writable(ledger, other):
    """Check that no transaction is open: both ledgers can write, at once."""
    for either in (other, ledger._wrapped):
        one = either.create_execution(lane_id="x")
        either.cancel_execution(one, actor="a", reason="")


def check_whole(ledger, other):
    """Check that no transaction is open, and that none was done by half."""
    check_writable(ledger, other)
    assert other.verify().ok
    assert other.audit().ok


def nobody_holds(other, job):
    """Say whether a worker could claim it now."""
    tenures = other.read.tenures(job)
    return not tenures or tenures[-1].ended_at_ms is not None
