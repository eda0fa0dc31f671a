"""What replays and follows the log stops where an earlier position may still commit."""

import io
import json
from contextlib import closing

import pytest
from outsiders import outsider_of

import leasehold

BEYOND = 99


@pytest.fixture
def ledger(own_url, clock):
    with leasehold.open(own_url, clock=clock) as opened:
        yield opened


@pytest.fixture
def slow_writer(own_url, ledger):
    """Give somebody who has begun to write, and has not come to an end."""
    with closing(outsider_of(own_url)) as outsider:
        yield outsider


@pytest.fixture
def settled(ledger, slow_writer):
    """Create an execution that is settled, one that is not, and change the first."""
    one = ledger.create_execution()
    slow_writer.execute("BEGIN")
    slow_writer.execute("SELECT leasehold_take_floor()")
    two = ledger.create_execution(lane_id="late")
    ledger.change_priority(one, 5, actor="ann")
    ledger.claim("late", worker_id="w")
    return one, two


class Positions:
    """Keeps the positions that it was given."""

    def __init__(self):
        self.given = []

    def create(self, execute):
        pass

    def apply(self, recorded, execute):
        self.given.append(recorded.position)


def exported(ledger, *chosen):
    target = io.BytesIO()
    ledger.export(target, *chosen)
    _, *events, _ = target.getvalue().splitlines()
    return [json.loads(line)["position"] for line in events]


def test_reads_stop_there(ledger, settled) -> None:
    assert ledger.read.settled_position() == 1
    assert [it.position for it in ledger.read.events()] == [1]
    assert ledger.read.lease_events() == []
    with ledger.subscribe(after=0) as subscription:
        assert [it.position for it in subscription.next_events(0)] == [1]
        assert subscription.next_events(0) == []
        assert subscription.position == 1


@pytest.mark.parametrize(
    ("which", "before", "after"), [(0, [1], [3]), (1, [], [2, 4, 5])]
)
def test_following_one_execution_stops_there_and_goes_on(
    which, before, after, ledger, settled, slow_writer
) -> None:
    with ledger.subscribe(after=0, execution_id=settled[which]) as subscription:
        assert [it.position for it in subscription.next_events(0)] == before
        assert subscription.position == 1
        slow_writer.execute("ROLLBACK")
        assert [it.position for it in subscription.next_events(20)] == after


@pytest.mark.parametrize("moment", [{}, {"position": BEYOND}, {"at_ms": 2 * 10**12}])
def test_an_earlier_state_stops_there(moment, ledger, settled) -> None:
    one, two = settled
    with ledger.as_of(**moment) as then:
        assert then.execution(two) is None
        assert then.execution(one).priority == 0
        assert [it.execution_id for it in then.executions()] == [one]
        assert then.settled_position() == 1
        assert then.lease_events(two) == []


def test_a_difference_stops_there(ledger, settled) -> None:
    one, _ = settled
    assert ledger.diff(1, BEYOND) == ledger.diff(BEYOND, 1) == []
    (row,) = ledger.diff(0, BEYOND)
    assert row.key == {"execution_id": str(one)}
    assert row.after["priority"] == 0


def test_a_checkpoint_stops_there_and_holds_afterwards(
    ledger, settled, slow_writer
) -> None:
    line = ledger.checkpoint()
    assert json.loads(line)["position"] == 1
    assert ledger.verify(line).ok
    slow_writer.execute("ROLLBACK")
    assert ledger.verify(line).ok
    assert json.loads(ledger.checkpoint())["position"] == 5


def test_a_bundle_stops_there(ledger, settled) -> None:
    one, _ = settled
    assert exported(ledger) == exported(ledger, [one]) == [1]


def test_what_is_asked_for_and_not_settled_is_no_empty_bundle(
    ledger, settled, slow_writer
) -> None:
    one, two = settled
    for chosen in ([two], [one, two]):
        with pytest.raises(leasehold.StoreError, match=f"{two} is not sett") as refused:
            exported(ledger, chosen)
        assert (refused.value.code, refused.value.retryable) == ("store_busy", True)
    slow_writer.execute("ROLLBACK")
    assert exported(ledger, [two]) == [2, 4, 5]


def test_a_projection_stops_there_and_goes_on(ledger, settled, slow_writer) -> None:
    projection = Positions()
    running = ledger.run_projection(projection, "positions")
    assert (projection.given, running.position) == ([1], 1)
    slow_writer.execute("ROLLBACK")
    assert running.catch_up() == 4
    assert projection.given == [1, 2, 3, 4, 5]


def test_what_is_not_settled_is_verified_all_the_same(ledger, settled) -> None:
    assert ledger.verify().events == 5
    assert ledger.verify().ok
    _, two = settled
    assert ledger.why(two, "public_state").position == 4
    assert ledger.rebuild() == []
