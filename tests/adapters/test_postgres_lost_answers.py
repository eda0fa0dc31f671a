"""Connections that break at the end of a call: it took effect, or it did not."""

import io
import time

import psycopg
import pytest
from every_call import (
    CALLS,
    bundled,
    complete,
    create_anonymous,
    create_keyed,
    frame,
    worked,
)
from outsiders import outsider_of, with_schema
from postgres_server import start_server
from proxy import COMMIT, cut, hush, lose_the_answer, proxy_to, swallow

import leasehold
from leasehold.adapters.postgres import resolving

TABLES = (
    "stored_events",
    "exec_state",
    "exec_blob",
    "attempt",
    "summary",
    "lease_event",
    "stream_frame",
    "resume_grant",
)


@pytest.fixture
def direct_url(new_store):
    """Name a store that is not there yet."""
    return new_store("postgres")


@pytest.fixture
def proxy(direct_url):
    """Stand between a ledger and its server."""
    with proxy_to(direct_url) as standing:
        yield standing


@pytest.fixture
def direct(direct_url, clock):
    """Open the store past the proxy."""
    with leasehold.open(direct_url, clock=clock, durability="normal") as ledger:
        yield ledger


@pytest.fixture
def open_behind(direct, proxy, clock):
    """Open the store behind the proxy: `open_behind(**options)`."""
    opened = []

    def open_it(**options):
        url = proxy.url(**options)
        opened.append(leasehold.open(url, clock=clock, durability="normal"))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


@pytest.fixture
def behind(open_behind):
    """Open the store behind the proxy."""
    return open_behind()


@pytest.fixture
def rows(direct, direct_url):
    """Read all tables, past the proxy."""
    outsider = outsider_of(direct_url)

    def read():
        return {
            table: sorted(outsider.execute(f"SELECT * FROM {table}"), key=repr)
            for table in TABLES
        }

    yield read
    outsider.close()


@pytest.fixture
def pids(direct, direct_url):
    """Name the processes of the server that hold locks of the ledger in the store."""
    outsider = outsider_of(direct_url)

    def read():
        found = outsider.execute(
            "SELECT DISTINCT l.pid FROM pg_locks AS l"
            " JOIN pg_stat_activity AS a ON a.pid = l.pid"
            " WHERE a.application_name = 'leasehold' AND l.locktype = 'advisory'"
        )
        return {row["pid"] for row in found}

    yield read
    outsider.close()


each_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)


def shape(answer):
    """Say what of an answer does not come from a draw."""
    return (
        [shape(item) for item in answer] if isinstance(answer, list) else type(answer)
    )


@each_call
def test_an_answer_that_was_lost_is_found_again(
    call, behind, direct, proxy, clock, rows, new_store
) -> None:
    with leasehold.open(new_store("postgres"), clock=clock) as undisturbed:
        expected = shape(call(undisturbed, clock)())
        expected_events = undisturbed.read.events()
    make = call(behind, clock)
    events_before = len(direct.read.events())

    proxy.at(COMMIT, lose_the_answer)
    answer = make()

    assert proxy.has_acted
    assert shape(answer) == expected
    events = direct.read.events()
    assert [event.topic for event in events[events_before:]] == [
        event.topic for event in expected_events[events_before:]
    ]
    for handle in [answer] if isinstance(answer, leasehold.Handle) else []:
        behind.complete(handle)
    if isinstance(answer, leasehold.LeaseRenewal):
        (attempt,) = direct.read.attempts(events[0].event.execution_id)
        assert attempt.lease_expires_at_ms == answer.expires_at_ms


@each_call
def test_a_commit_that_never_arrived_is_told_to_have_written_nothing(
    call, behind, proxy, clock, rows
) -> None:
    make = call(behind, clock)
    before = rows()

    proxy.at(COMMIT, cut)
    with pytest.raises(leasehold.StoreError, match="nothing was written") as told:
        make()

    assert proxy.has_acted
    assert (told.value.code, told.value.retryable) == ("store_unavailable", True)
    assert isinstance(told.value.__cause__, psycopg.Error)
    assert rows() == before
    make()
    assert rows() != before


@each_call
def test_a_server_that_waits_for_a_client_that_is_gone_is_made_to_end_it(
    call, behind, proxy, clock, rows, pids, monkeypatch
) -> None:
    make = call(behind, clock)
    before = rows()
    monkeypatch.setattr(resolving, "PATIENCE_S", 0.4)

    proxy.at(COMMIT, swallow)
    with pytest.raises(leasehold.StoreError, match="nothing was written") as told:
        make()

    assert proxy.has_acted
    assert told.value.retryable
    assert pids() == set()
    assert rows() == before
    monkeypatch.undo()
    make()
    assert rows() != before


def test_an_import_into_an_empty_store_whose_answer_was_lost_is_found_again(
    behind, direct, proxy, clock
) -> None:
    with leasehold.open("sqlite://", clock=clock) as elsewhere:
        complete(elsewhere, clock)()
        bundle = bundled(elsewhere)
        events = elsewhere.read.events()

    proxy.at(COMMIT, cut)
    with pytest.raises(leasehold.StoreError, match="nothing was written"):
        behind.import_bundle(io.BytesIO(bundle))
    assert direct.read.events() == []

    proxy.at(COMMIT, lose_the_answer)
    assert behind.import_bundle(io.BytesIO(bundle)).events == len(events)
    assert proxy.has_acted
    assert direct.read.events() == events


def test_a_best_effort_frame_whose_answer_was_lost_may_be_there_or_not(
    behind, direct, proxy, clock
) -> None:
    make = frame(behind, clock, leasehold.BestEffort())
    for act in (lose_the_answer, cut):
        proxy.at(COMMIT, act)
        with pytest.raises(leasehold.StoreError, match="not known") as told:
            make()
        assert (told.value.code, told.value.retryable) == ("store_unavailable", True)
    assert make().frame_count == 2


def test_a_call_that_had_nothing_to_write_does_not_mind_a_lost_answer(
    behind, direct, proxy
) -> None:
    for act in (lose_the_answer, cut):
        proxy.at(COMMIT, act)
        assert behind.claim(worker_id="w") is None
        assert proxy.has_acted
    assert direct.read.events() == []


def test_a_repeated_completion_whose_answer_was_lost_answers_again(
    behind, direct, proxy, clock
) -> None:
    make = complete(behind, clock)
    make()
    for act in (lose_the_answer, cut):
        proxy.at(COMMIT, act)
        make()
    assert len(direct.read.events()) == 5


def test_a_refusal_is_told_also_when_it_could_not_be_recorded(
    behind, direct, proxy, clock, caplog
) -> None:
    handle = worked(behind).replace(lease_epoch=999)
    proxy.at(COMMIT, cut)
    with pytest.raises(leasehold.LeaseConflictError):
        behind.renew(handle)
    assert "was not recorded" in caplog.text
    assert direct.read.lease_events()[-1].event_type == "acquired"


@pytest.mark.parametrize("act", [cut, lose_the_answer])
@pytest.mark.parametrize("accept", ["refused", "silence"])
def test_with_a_server_that_is_gone_it_is_told_that_nobody_knows(
    accept, act, behind, direct, proxy, clock, rows, monkeypatch
) -> None:
    make = create_anonymous(behind, clock)
    make()
    before = rows()
    monkeypatch.setattr(resolving, "PATIENCE_S", 1.0)

    def go_away(wire):
        proxy.accept = accept
        return act(wire)

    proxy.at(COMMIT, go_away)
    began_s = time.monotonic()
    with pytest.raises(leasehold.StoreError, match="not known whether") as told:
        make()

    assert time.monotonic() - began_s < 3
    assert (told.value.code, told.value.retryable) == ("store_unavailable", False)
    assert "version 1 of stream" in str(told.value)
    assert "nothing was written" not in str(told.value)
    assert (rows() == before) == (act is cut)
    proxy.accept = "served"
    make()


def test_how_long_nobody_knows_is_bounded_by_ten_seconds() -> None:
    assert resolving.PATIENCE_S <= 10


def test_a_server_that_falls_silent_while_it_is_asked_is_not_waited_for(
    behind, direct, proxy, clock, monkeypatch
) -> None:
    make = create_anonymous(behind, clock)
    make()
    monkeypatch.setattr(resolving, "PATIENCE_S", 0.5)
    proxy.at(COMMIT, cut)
    proxy.at(b"SELECT pg_is_in_recovery", hush)
    began_s = time.monotonic()
    with pytest.raises(leasehold.StoreError, match="did not answer") as told:
        make()
    assert time.monotonic() - began_s < 3
    assert "not known" in str(told.value)


def test_a_server_that_comes_back_in_time_is_asked(
    behind, direct, proxy, clock, rows
) -> None:
    make = create_keyed(behind, clock)

    def go_away_for_a_moment(wire):
        proxy.refuse(3)
        return lose_the_answer(wire)

    proxy.at(COMMIT, go_away_for_a_moment)
    execution_id = make()
    assert direct.read.execution(execution_id).public_state == "pending"
    assert make() == execution_id


def test_an_event_of_another_at_the_place_is_not_taken_for_the_own(
    behind, direct, proxy, clock
) -> None:
    handle = worked(behind)

    def let_another_write(wire):
        wire.close()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                direct.progress(handle, 1, "another")
            except leasehold.StoreError:
                continue
            break
        return False

    proxy.at(COMMIT, let_another_write)
    with pytest.raises(leasehold.StoreError, match="nothing was written"):
        behind.progress(handle, 2, "own")
    (attempt,) = direct.read.attempts(handle.execution_id)
    raw = direct.read.execution(handle.execution_id).raw_fields
    assert raw["progress_message"] == "another"
    assert attempt.outcome is None


def test_a_standby_is_not_asked_what_became_of_a_call(clock, monkeypatch) -> None:
    monkeypatch.setattr(resolving, "PATIENCE_S", 4.0)
    with start_server(fsync="off", max_wal_senders=2) as server:
        url = with_schema(server.url, "here")

        def fall_back(wire):
            wire.close()
            server.stop()
            (server.directory / "data" / "standby.signal").touch(mode=0o666)
            server.start()
            return False

        with (
            proxy_to(url) as proxy,
            leasehold.open(proxy.url(), clock=clock) as ledger,
        ):
            proxy.at(COMMIT, fall_back)
            with pytest.raises(leasehold.StoreError, match="standby") as told:
                ledger.create_execution()
    assert "not known" in str(told.value)
    assert not told.value.retryable


def test_an_answer_is_sought_also_when_no_thread_can_be_started(
    behind, direct, proxy, clock, monkeypatch
) -> None:
    def refuse(*_, **__):
        message = "can't start new thread"
        raise RuntimeError(message)

    make = create_anonymous(behind, clock)
    monkeypatch.setattr(resolving, "Thread", refuse)
    proxy.at(COMMIT, lose_the_answer)
    execution_id = make()
    monkeypatch.undo()
    assert direct.read.execution(execution_id) is not None
