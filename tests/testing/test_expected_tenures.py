"""`assert_tenures`: what it takes as equal, and what it says where it is not."""

import pytest

import leasehold
from leasehold.testing import AssertTenures, Crash, Expire, ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def job(ledger, clock):
    """Make an execution that two workers held: one that died, one at work."""
    job = ledger.create_execution()
    first = ledger.claim(worker_id="worker 1")
    clock.advance(ms=10_000)
    ledger.renew(first)
    Crash(ledger, Expire(ledger, clock))(first)
    clock.advance(ms=5)
    ledger.claim(worker_id="w-2")
    return job


@pytest.fixture
def assert_tenures(ledger):
    return AssertTenures(ledger)


FIRST = "worker 1 claim expired"
SECOND = "w-2 reclaim live"
IN_FULL = """\
    attempt 0, epoch 1: worker 1 by claim at 0 ms, renewals 1, refusals 0, \
expired at 40000 ms
    attempt 1, epoch 2: w-2 by reclaim at 40005 ms, renewals 0, refusals 0, \
live until 70005 ms
""".splitlines()


@pytest.mark.parametrize(
    "expected",
    [
        [FIRST, SECOND],
        ["worker 1  claim   expired", SECOND],
        [{"worker_id": "worker 1", "ended_by": "expired", "renewals": 1}, SECOND],
        [{"orphaned_ms": 5}, {"ended_by": None, "attempt_index": 1}],
        [{}, {"acquired_by": leasehold.TenureOrigin.RECLAIM}],
    ],
)
def test_what_is_so(assert_tenures, job, expected):
    assert_tenures(job, expected)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ([FIRST], [f"    {FIRST}", f"  + {SECOND}"]),
        ([], [f"  + {FIRST}", f"  + {SECOND}"]),
        (
            [FIRST, SECOND, "w-3 claim live"],
            [f"    {FIRST}", f"    {SECOND}", "  - w-3 claim live"],
        ),
        (
            [FIRST, "w-2 reclaim completed"],
            [f"    {FIRST}", "  - w-2 reclaim completed", f"  + {SECOND}"],
        ),
        (
            [{"worker_id": "worker 1", "renewals": 2}, SECOND],
            [
                "  - worker_id='worker 1' renewals=2",
                "  + worker_id='worker 1' renewals=1",
                f"    {SECOND}",
            ],
        ),
    ],
)
def test_what_is_not_so_is_shown_line_by_line(assert_tenures, job, expected, told):
    with pytest.raises(AssertionError) as caught:
        assert_tenures(job, expected)
    first, *lines = str(caught.value).splitlines()
    assert str(job) in first
    assert lines == [*told, "recorded, with times since the first:", *IN_FULL]


def test_an_execution_that_nobody_held(ledger, assert_tenures):
    job = ledger.create_execution()
    assert_tenures(job, [])
    with pytest.raises(AssertionError, match=r"  - w claim live\n.*:\n    none$"):
        assert_tenures(job, ["w claim live"])


def test_an_id_is_shown_as_one_writes_it(ledger, assert_tenures, job):
    lease_id = ledger.read.tenures(job)[0].lease_id
    with pytest.raises(AssertionError, match=rf"  \+ lease_id={lease_id}"):
        assert_tenures(job, [{"lease_id": None}, SECOND])


@pytest.mark.parametrize(
    "wrong", ["", "claim live", "w begin live", "w claim gone", {"worker": "w"}]
)
def test_an_expectation_that_is_none(assert_tenures, job, wrong):
    with pytest.raises(ValueError, match=r"a tenure (is expected as|has no 'worker')"):
        assert_tenures(job, [wrong])
