"""The clock that a test moves."""

import threading

import pytest

from leasehold.testing import ManualClock


def test_it_stands_still_and_moves_on():
    clock = ManualClock(1_000)
    assert clock() == clock.now_ms() == 1_000
    assert clock.advance(ms=5) == clock() == 1_005
    assert clock.advance(0) == 1_005
    assert clock.advance_to(2_000) == clock.now_ms() == 2_000
    assert clock.advance_to(2_000) == 2_000


def test_it_begins_at_a_time_that_people_can_read():
    assert ManualClock()() == 1_704_067_200_000


def test_it_never_goes_back():
    clock = ManualClock(1_000)
    with pytest.raises(ValueError, match="forwards; got -1 ms"):
        clock.advance(ms=-1)
    with pytest.raises(ValueError, match="forwards; it stands at 1000 and 999"):
        clock.advance_to(999)
    assert clock() == 1_000


def test_threads_move_it_together():
    clock = ManualClock(0)

    def move():
        for _ in range(1_000):
            clock.advance(ms=1)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock() == 4_000
