"""When a worker looks for work, which lane is next, how often it sweeps: no clock."""

import pytest

import leasehold
from leasehold.adapters.worker.lanes import LaneTurns
from leasehold.adapters.worker.pacing import Agenda, Pauses
from leasehold.adapters.worker.sweeping import Sweeper, _sweepers, sweeping


def test_pauses_double_to_the_longest_and_begin_anew():
    pauses = Pauses(1, 5, draw=lambda: 0)
    assert [pauses.next_s() for _ in range(4)] == [1, 2, 4, 5]
    pauses.reset()
    assert pauses.next_s() == 1


def test_pauses_are_drawn_from_half_to_whole():
    pauses = Pauses(1, 1, draw=lambda: 0.5)
    assert pauses.next_s() == 0.75
    drawn = [Pauses(1, 1).next_s() for _ in range(100)]
    assert 0.5 < min(drawn) < max(drawn) <= 1


@pytest.fixture
def agenda():
    return Agenda(Pauses(1, 8, draw=lambda: 0), Pauses(10, 20, draw=lambda: 0))


def test_it_looks_at_once_and_then_ever_more_rarely(agenda):
    assert agenda.next_s == 0
    for now_s, next_s in ((100, 101), (101, 103), (103, 107), (107, 115), (115, 123)):
        agenda.begin(now_s)
        agenda.found_all(now_s, 0)
        assert agenda.next_s == next_s


def test_it_looks_when_it_is_told_and_begins_with_short_pauses(agenda):
    agenda.begin(100)
    agenda.found_all(100, 0)
    agenda.tell(100.5)
    assert agenda.next_s == 100.5
    agenda.begin(100.5)
    agenda.found_all(100.5, 0)
    assert agenda.next_s == 101.5


def test_it_looks_again_at_once_where_there_was_more(agenda):
    agenda.begin(100)
    agenda.found_more()
    assert agenda.next_s == 100


def test_it_looks_when_a_delay_is_over(agenda):
    agenda.begin(100)
    agenda.expect(100.3)
    agenda.expect(100.2)
    agenda.found_all(100, 0)
    assert agenda.next_s == 100.2
    agenda.begin(100.25)
    agenda.found_all(100.25, 0)
    assert agenda.next_s == 100.3


def test_after_an_error_nothing_makes_it_look_too_early(agenda):
    agenda.begin(100)
    assert agenda.failed(100) == 10
    agenda.tell(101)
    assert agenda.next_s == 110
    agenda.begin(110)
    assert agenda.failed(110) == 20
    assert agenda.next_s == 130


class Shelves:
    """Lanes with so much in each, to take from."""

    def __init__(self, **there):
        self.there = there
        self.asked = []

    def take(self, lane_id, most):
        self.asked.append((lane_id, most))
        taken = min(most, self.there[lane_id])
        self.there[lane_id] -= taken
        return taken


def test_what_is_free_is_shared_and_what_one_lane_leaves_goes_to_others():
    shelves = Shelves(a=100, b=1, c=100)
    assert LaneTurns("abc").take(9, shelves.take) == 9
    assert shelves.there == {"a": 97, "b": 0, "c": 95}


def test_lanes_with_work_alternate_past_an_empty_one():
    shelves, turns = Shelves(a=100, b=0, c=100), LaneTurns("abc")
    for _ in range(10):
        assert turns.take(1, shelves.take) == 1
    assert shelves.there == {"a": 95, "b": 0, "c": 95}


def test_nothing_there_is_nothing_taken_and_each_lane_is_asked_once():
    shelves = Shelves(a=0, b=0)
    assert LaneTurns("ab").take(3, shelves.take) == 0
    assert shelves.asked == [("a", 2), ("b", 3)]


@pytest.fixture
def swept_ledger():
    now = [1_700_000_000_000]
    with leasehold.open("sqlite://", clock=lambda: now[0]) as ledger:
        yield ledger, now


def test_a_sweep_that_finds_nothing_makes_the_next_one_later(swept_ledger):
    ledger, now = swept_ledger
    pauses = Pauses(5, 30, draw=lambda: 0)
    sweeper = Sweeper(ledger, pauses)
    assert pauses.next_s() == 5
    sweeper.sweep()
    assert pauses.next_s() == 10
    execution_id = ledger.create_execution()
    ledger.claim(worker_id="w", lease_ttl_ms=1_000)
    now[0] += 1_000
    sweeper.sweep()
    assert pauses.next_s() == 5
    assert ledger.read.lease_events(execution_id)[-1].event_type == "expired"


def test_a_sweep_that_fails_is_told_and_tried_later(swept_ledger, monkeypatch, caplog):
    ledger, _ = swept_ledger

    def failing():
        raise leasehold.StoreError("gone")

    monkeypatch.setattr(ledger, "sweep", failing)
    Sweeper(ledger, Pauses(5, 30)).sweep()
    assert "could not sweep: gone" in caplog.text


def test_workers_of_one_process_share_a_sweeper(swept_ledger):
    ledger, _ = swept_ledger
    with sweeping(ledger):
        first = _sweepers[ledger]
        with sweeping(ledger):
            assert _sweepers[ledger] is first
            assert first.users == 2
        assert not first._stopped.is_set()
    assert first._stopped.is_set()
    assert ledger not in _sweepers
