"""Following the log: every event once, in order, as it is committed."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from followers import in_thread, positions, writer_process

import leasehold
from leasehold import InvalidInputError, StoreError

LONG_S = 20
"""Longer than anything here takes; a test that waits so long has failed."""
SOON_S = 0.5
CREATED = "execution.created"


@pytest.fixture
def log(ledger, start):
    """Write some events; give all of them."""
    for _ in range(3):
        handle = start()
        ledger.renew(handle)
        ledger.complete(handle)
    return ledger.read.events()


def given(subscription, count):
    """Take so many events; a test never waits for more."""
    found = []
    until_s = time.monotonic() + LONG_S
    while len(found) < count and time.monotonic() < until_s:
        found += subscription.next_events(until_s - time.monotonic())
    return found


def test_from_the_beginning_all_is_given_in_order(ledger, log) -> None:
    with ledger.subscribe(after=0) as subscription:
        assert [next(subscription) for _ in log] == log
        assert subscription.position == log[-1].position


def test_from_a_position_what_follows_is_given(ledger, log) -> None:
    for before, recorded in pairwise(log):
        with ledger.subscribe(after=before.position) as subscription:
            assert next(subscription) == recorded


def test_from_now_only_what_is_committed_later_is_given(ledger, log) -> None:
    with ledger.subscribe() as subscription:
        assert subscription.position == log[-1].position
        assert subscription.next_events(0) == []
        execution_id = ledger.create_execution()
        assert next(subscription).event.execution_id == execution_id


def test_now_is_when_subscribe_is_called(ledger, log) -> None:
    subscription = ledger.subscribe()
    execution_id = ledger.create_execution()
    assert next(subscription).event.execution_id == execution_id
    subscription.close()


def test_an_empty_log_is_waited_at(ledger) -> None:
    with ledger.subscribe(after=0) as subscription:
        assert subscription.position == 0
        assert subscription.next_events(0.02) == []
        ledger.create_execution()
        assert next(subscription).position == 1


def test_a_position_that_the_log_has_not_reached_is_waited_for(ledger, log) -> None:
    last = log[-1].position
    with ledger.subscribe(after=last + 1) as subscription:
        ledger.create_executions([{}])
        assert subscription.next_events(0) == []
        ledger.create_executions([{}])
        assert positions(subscription.next_events(LONG_S)) == [last + 2]


def test_only_the_topics_that_are_asked_for_are_given(ledger, log) -> None:
    topics = ("attempt.lease_renewed", CREATED)
    expected = [recorded for recorded in log if recorded.topic in topics]
    assert len(expected) == 6
    with ledger.subscribe(after=0, topics=topics) as subscription:
        assert [next(subscription) for _ in expected] == expected
        assert subscription.next_events(0) == []
        assert subscription.position == log[-1].position


def test_only_the_execution_that_is_asked_for_is_given(ledger, log) -> None:
    execution_id = log[-1].event.execution_id
    with ledger.subscribe(after=0, execution_id=execution_id) as subscription:
        expected = ledger.read.history(execution_id)
        assert [next(subscription) for _ in expected] == expected
        ledger.create_execution()
        assert subscription.next_events(0.02) == []
        ledger.replay_execution(execution_id, actor="ann", reason="again")
        (more,) = subscription.next_events(LONG_S)
        assert more.topic == "execution.replayed"
        assert subscription.position == more.position


def test_topics_of_an_execution(ledger, start) -> None:
    handle = start()
    for _ in range(3):
        ledger.append_frame(handle, leasehold.Frame(b"x"))
    ledger.renew(handle)
    with ledger.subscribe(
        after=0, execution_id=handle.execution_id, topics=["attempt.lease_renewed"]
    ) as subscription:
        (renewed,) = subscription.next_events(LONG_S)
        assert renewed.topic == "attempt.lease_renewed"


def test_a_rare_topic_of_a_long_execution_is_found_at_once(ledger, start) -> None:
    handle = start()
    for number in range(1_100):
        ledger.progress(handle, number % 100)
    ledger.renew(handle)
    with ledger.subscribe(
        after=0, execution_id=handle.execution_id, topics=["attempt.lease_renewed"]
    ) as subscription:
        assert len(subscription.next_events(0)) == 1


def test_an_execution_that_is_not_there_yet_is_waited_for(ledger) -> None:
    execution_id = uuid4()
    with ledger.subscribe(after=0, execution_id=execution_id) as subscription:
        assert subscription.next_events(0) == []


def test_more_than_a_page_is_given_whole(ledger) -> None:
    ledger.create_executions([{}] * 1_203)
    with ledger.subscribe(after=0) as subscription:
        assert len(subscription.next_events(0)) == 500
        assert subscription.position == 500
        seen = [next(subscription).position for _ in range(10)]
        assert seen == list(range(501, 511))
        rest = given(subscription, 693)
        assert positions(rest) == list(range(511, 1_204))
        assert subscription.next_events(0) == []


def test_who_goes_on_from_a_kept_position_misses_nothing(ledger) -> None:
    ledger.create_executions([{}] * 50)
    after, seen = 0, []
    while len(seen) < 50:
        with ledger.subscribe(after=after) as subscription:
            for recorded in subscription:
                seen.append(recorded.position)
                after = subscription.position
                if len(seen) % 7 == 0:
                    break
                if len(seen) == 50:
                    break
    assert seen == list(range(1, 51))


def test_who_did_not_come_to_keep_the_position_gets_the_event_again(ledger) -> None:
    ledger.create_executions([{}] * 2)
    with ledger.subscribe(after=0) as subscription:
        next(subscription)
        kept = subscription.position
        lost = next(subscription)
    with ledger.subscribe(after=kept) as again:
        assert next(again) == lost


def test_a_stop_ends_the_wait_in_another_thread_soon(ledger, log) -> None:
    subscription = ledger.subscribe()
    with in_thread(lambda: list(subscription)) as follower:
        ledger.create_execution()
        follower.wait_until(lambda: subscription.position > log[-1].position)
        began_s = time.monotonic()
        subscription.stop()
        assert len(follower.result(LONG_S)) == 1
        assert time.monotonic() - began_s < SOON_S


def test_a_close_ends_the_wait_in_another_thread_soon(ledger) -> None:
    subscription = ledger.subscribe()
    with in_thread(lambda: list(subscription)) as follower:
        follower.wait_until(lambda: subscription._feed._watch is not None)
        began_s = time.monotonic()
        subscription.close()
        assert follower.result(LONG_S) == []
        assert time.monotonic() - began_s < SOON_S
    assert subscription._feed._watch is None


def test_after_a_stop_nothing_is_given(ledger, log) -> None:
    subscription = ledger.subscribe(after=0)
    first = next(subscription)
    subscription.stop()
    subscription.stop()
    assert list(subscription) == []
    assert subscription.next_events(LONG_S) == []
    assert subscription.position == first.position
    subscription.close()


def test_the_block_stops_it(ledger, log) -> None:
    with ledger.subscribe(after=0) as subscription:
        seen = [recorded for _, recorded in zip(log, subscription, strict=False)]
    assert seen == log
    assert list(subscription) == []


def test_a_stop_in_the_midst_of_a_page_keeps_the_position(ledger, log) -> None:
    with ledger.subscribe(after=0) as subscription:
        for recorded in subscription:
            if recorded.position == 4:
                subscription.stop()
    assert subscription.position == 4


@pytest.mark.parametrize("timeout_s", [0, 0.03])
def test_a_wait_can_be_given_up(ledger, timeout_s) -> None:
    with ledger.subscribe() as subscription:
        began_s = time.monotonic()
        assert subscription.next_events(timeout_s) == []
        assert timeout_s <= time.monotonic() - began_s < timeout_s + SOON_S


def test_iterating_and_pages_can_be_mixed(ledger, log) -> None:
    with ledger.subscribe(after=0) as subscription:
        first = next(subscription)
        assert [first, *subscription.next_events(0)] == log


def test_a_commit_of_another_thread_wakes(ledger) -> None:
    with (
        ledger.subscribe() as subscription,
        in_thread(lambda: next(subscription)) as follower,
    ):
        follower.wait_until(lambda: subscription._feed._watch is not None)
        execution_id = ledger.create_execution()
        assert follower.result(LONG_S).event.execution_id == execution_id


def test_a_commit_of_another_ledger_wakes(shared_url) -> None:
    with (
        leasehold.open(shared_url, durability="normal") as writer,
        leasehold.open(shared_url, read_only=True) as reader,
        reader.subscribe() as subscription,
    ):
        execution_id = writer.create_execution()
        assert next(subscription).event.execution_id == execution_id


def test_commits_of_another_process_are_given_soon(shared_url) -> None:
    waits_s = []
    with (
        leasehold.open(shared_url, durability="normal") as ledger,
        ledger.subscribe() as subscription,
        writer_process(shared_url) as write,
    ):
        for _ in range(21):
            # Let the pauses between two looks grow.
            assert subscription.next_events(0.15) == []
            told_s = write()
            assert len(subscription.next_events(LONG_S)) == 1
            waits_s.append(time.time() - told_s)
    median_s = sorted(waits_s)[len(waits_s) // 2]
    bound_s = 0.25 if shared_url.startswith("sqlite") else 0.05
    assert median_s < bound_s


def test_several_followers_are_all_woken(ledger) -> None:
    subscriptions = [ledger.subscribe() for _ in range(5)]
    for number in range(1, 4):
        ledger.create_execution()
        for subscription in subscriptions:
            assert next(subscription).position == number
    for subscription in subscriptions:
        subscription.close()


def test_closing_the_ledger_ends_a_wait_with_an_error(ledger) -> None:
    subscription = ledger.subscribe()
    with in_thread(lambda: next(subscription)) as follower:
        follower.wait_until(lambda: subscription._feed._watch is not None)
        began_s = time.monotonic()
        ledger.close()
        with pytest.raises(StoreError, match="closed"):
            follower.result(LONG_S)
        assert time.monotonic() - began_s < SOON_S
    assert subscription._feed._watch is None


def test_a_closed_ledger_is_not_followed(ledger, log) -> None:
    subscription = ledger.subscribe(after=0)
    ledger.close()
    with pytest.raises(StoreError, match="closed"):
        next(subscription)
    with pytest.raises(StoreError, match="closed"):
        ledger.subscribe()
    subscription.close()


WRONG = {
    "after": [-1, 1.5, "1", True, 2**63],
    "topics": [CREATED, 7, ["no.such.topic"], [None], {CREATED: 1, 5: 2}],
    "execution_id": ["x", str(UUID(int=7)), 5],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]]
)
def test_a_wrong_argument_is_named(ledger, name, value) -> None:
    with pytest.raises(InvalidInputError, match=name):
        ledger.subscribe(**{name: value})


def test_what_is_not_for_the_follower_is_not_read_twice(ledger) -> None:
    ledger.create_executions([{}] * 1_500)
    asked = []
    with (
        ledger.subscribe(after=0, topics=["frame.appended"]) as subscription,
        spying(ledger._store, asked),
    ):
        assert subscription.next_events(0) == []
        ledger.create_execution()
        assert subscription.next_events(0) == []
        assert subscription.next_events(0.05) == []
    looks = [ask for ask in asked if ask[0] == "events_settled"]
    assert [ask[1]["after"] for ask in looks] == [0, 1_500]
    assert subscription.position == 1_501


@contextmanager
def spying(store, asked):
    """Note the queries of each read session, with their parameters."""
    read = store.read

    @contextmanager
    def noting(**options):
        with read(**options) as session:
            yield Noting(session, asked)

    store.read = noting
    try:
        yield
    finally:
        del store.read


class Noting:
    def __init__(self, session, asked):
        self.session, self.asked = session, asked

    def fetch_all(self, query, **parameters):
        self.asked.append((query, parameters))
        return self.session.fetch_all(query, **parameters)

    def fetch_page(self, query, **parameters):
        self.asked.append((query, parameters))
        return self.session.fetch_page(query, **parameters)

    def fetch_one(self, query, **parameters):
        self.asked.append((query, parameters))
        return self.session.fetch_one(query, **parameters)


def test_what_is_before_a_damaged_event_is_given(shared_url, outsider) -> None:
    with leasehold.open(shared_url) as ledger:
        ledger.create_executions([{}] * 5)
        outsider.lift_the_guard()
        damage = "UPDATE stored_events SET topic = 'x' WHERE notification_id = 4"
        outsider.execute(damage)
        first = ledger.read.events(limit=1)[0].event.execution_id
        for options in ({}, {"execution_id": first}):
            with ledger.subscribe(after=0, **options) as subscription:
                before = 1 if options else 3
                assert [next(subscription).position for _ in range(before)] == list(
                    range(1, before + 1)
                )
                if not options:
                    for _ in range(2):
                        with pytest.raises(StoreError, match="position 4") as told:
                            next(subscription)
                        assert told.value.code == "corrupt_event"
                    assert subscription.position == 3


def test_what_is_committed_before_the_watch_begins_is_not_waited_for(
    ledger, monkeypatch
) -> None:
    class Late:
        """Begins to watch when all has been committed."""

        def begin(self):
            ledger.create_execution()

        def wait(self, timeout_s, stopped):
            message = "it waits for what is there"
            raise AssertionError(message)

        def close(self):
            pass

    with ledger.subscribe(after=0) as subscription:
        monkeypatch.setattr(ledger._store, "watch", Late)
        assert positions(subscription.next_events(20)) == [1]


FORK = """
import os, sys, leasehold

with leasehold.open(sys.argv[1], durability="normal") as ledger:
    subscription = ledger.subscribe()
    ledger.create_execution()
    next(subscription)
    assert subscription.next_events(0.05) == []
    child = os.fork()
    if child == 0:
        try:
            next(subscription)
        except leasehold.StoreError as refused:
            subscription.close()
            os._exit(0 if "forked" in str(refused) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    watch = subscription._feed._watch
    was_connected_by = getattr(watch, "_connection", None)
    ledger.create_execution()
    assert next(subscription).position == 2
    assert getattr(watch, "_connection", None) is was_connected_by
    assert subscription.next_events(0.05) == []
    subscription.close()
print("fine")
"""


def test_a_forked_child_is_told_and_leaves_the_parents_subscription(shared_url) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, shared_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "fine", done.stderr


def test_a_subscription_that_is_dropped_ends_quietly(shared_url, outsider) -> None:
    with leasehold.open(shared_url) as ledger:
        subscription = ledger.subscribe()
        assert subscription.next_events(0.01) == []
        del subscription
        ledger.create_execution()
        assert outsider.execute("SELECT count(*) AS n FROM stored_events")[0]["n"] == 1


def test_many_threads_write_while_one_follows(ledger) -> None:
    def write(count=40):
        for _ in range(count):
            ledger.create_execution()

    writers = [threading.Thread(target=write) for _ in range(4)]
    with ledger.subscribe(after=0) as subscription:
        for writer in writers:
            writer.start()
        seen = given(subscription, 160)
        for writer in writers:
            writer.join()
    assert positions(seen) == positions(ledger.read.events())
