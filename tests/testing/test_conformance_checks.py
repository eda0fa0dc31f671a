"""The checks: what is right passes all of them, what is broken fails on those told."""

import re
import unittest
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from leasehold import testing
from leasehold.adapters.conformance.clocks import SharedClock
from leasehold.adapters.conformance.reference import ReferenceSession
from leasehold.testing import conformance

# Nothing blocks in a store that says that it is busy: so nothing is waited for.
PATIENT = conformance.Settings(patience_s=60)

each_broken_store = pytest.mark.parametrize(
    "store", conformance.broken.STORES, ids=lambda store: store.__name__
)


def named(name):
    (check,) = (check for check in conformance.CHECKS if check.__name__ == name)
    return check


def concurrent():
    return named("concurrent_histories_are_linearizable")


@pytest.mark.parametrize("check", conformance.FORCED, ids=lambda check: check.__name__)
def test_the_correct_store_passes(check):
    check(conformance.ReferenceStore(), PATIENT)


def test_the_correct_store_passes_with_many_threads():
    several = replace(PATIENT, threads=6, rounds=10)
    concurrent()(conformance.ReferenceStore(), several)


@each_broken_store
def test_a_broken_store_is_caught_by_the_checks_that_are_told(store):
    report = conformance.run(store(), settings=PATIENT, checks=conformance.FORCED)
    assert set(report.failed) == store.caught_by
    assert not report.ok
    for result in report.results:
        if result.verdict is conformance.Verdict.FAILED:
            # A history that cannot be explained, and no error of the store.
            assert result.told.startswith("no order of these calls explains")


def test_every_check_that_finds_the_same_each_time_catches_something():
    caught = set().union(*(store.caught_by for store in conformance.broken.STORES))
    assert caught == {check.__name__ for check in conformance.FORCED}


PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def test_the_page_tells_of_every_check_and_every_broken_store():
    text = PAGE.read_text(encoding="utf-8")
    checks = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE))
    assert list(checks.values()) == [check.__name__ for check in conformance.CHECKS]
    assert list(checks) == [str(number) for number in range(1, len(checks) + 1)]
    rows = re.findall(r"^\| `(\w+)` \| .* \| \*\*(\d+)\*\*(.*) \|$", text, re.MULTILINE)
    told = {
        store: {checks[number] for number in [first, *re.findall(r"\d+", others)]}
        for store, first, others in rows
    }
    stores = conformance.broken.STORES
    assert list(told) == [store.__name__ for store in stores]
    assert told == {store.__name__: store.caught_by for store in stores}
    # Each rule has a store that breaks it, and all eleven are found by something.
    assert {first for _, first, _ in rows} == {str(n) for n in range(1, 11)}


def test_what_is_wrong_is_found_among_concurrent_calls_too():
    # Each history shows it with a chance of two in three.
    with pytest.raises(conformance.ConformanceError, match="no order of these calls"):
        concurrent()(conformance.broken.HolderLetInAgain(), PATIENT)


def test_the_history_is_told_in_as_few_calls_as_can_be():
    with pytest.raises(conformance.ConformanceError) as failed:
        named("a_lease_runs_out")(conformance.broken.ExpiryIgnored(), PATIENT)
    assert str(failed.value) == (
        "no order of these calls explains what they answered:\n"
        "  1-2   a    at 0 ms: claim(for a) → lease a#0, epoch 1, until 1000 ms\n"
        "  3-4   a    at 1000 ms: renew(with a#0) → until 2000 ms\n"
        "The longest one that does: 1-2\n"
        "Then the resource is under lease a#0, which runs out at 1000 ms; "
        "highest epoch 1; grants: none\n"
        "and none of these may follow:\n"
        "  3-4   a    at 1000 ms: renew(with a#0) → until 2000 ms"
    )


class Meagre(conformance.ReferenceStore):
    """A store that can only claim, renew, write and end."""

    class _Session(ReferenceSession):
        lacks = ("release", "revoke", "grant")

        def release(self, lease):
            raise AssertionError

        revoke = grant = redeem = release

    _session_type = _Session


def test_a_store_need_not_have_everything():
    report = conformance.run(Meagre(), settings=PATIENT)
    assert report.ok
    skipped = {
        result.check: result.told
        for result in report.results
        if result.verdict is conformance.Verdict.SKIPPED
    }
    assert skipped == {
        "a_grant_serves_once": "the store has no grant",
        "histories_of_processes_are_linearizable": "no processes were asked for",
    }


class Refusing(conformance.ReferenceStore):
    """A store that gives nothing to anybody."""

    class _Session(ReferenceSession):
        def claim(self, resource, holder, ttl_ms):
            return None

    _session_type = _Session


def test_a_store_that_gives_nothing_fails():
    report = conformance.run(Refusing(), settings=PATIENT, checks=conformance.FORCED)
    assert {check.__name__ for check in conformance.FORCED} == set(report.failed)


class Faulty(conformance.ReferenceStore):
    """A store whose writes raise something, or never say whether they were done."""

    error: type[Exception] = ZeroDivisionError

    class _Session(ReferenceSession):
        def write(self, lease, how, value):
            super().write(lease, how, value)
            raise self.store.error

    _session_type = _Session


def test_what_a_store_raises_is_told():
    check = conformance.FORCED[1]
    report = conformance.run(Faulty(), settings=PATIENT, checks=[check])
    assert report.failed == ("every_write_is_fenced",)
    assert "ZeroDivisionError" in str(report)
    for raising in (check, concurrent()):
        with pytest.raises(ZeroDivisionError):
            raising(Faulty(), PATIENT)


def test_a_store_that_does_not_know_may_have_done_it():
    store = Faulty()
    store.error = conformance.Unknown
    # One call after another: there is no reason not to know.
    with pytest.raises(conformance.Unknown):
        conformance.FORCED[1](store, PATIENT)
    concurrent()(store, PATIENT)


def test_threads_can_be_left_out():
    report = conformance.run(
        conformance.ReferenceStore(),
        settings=replace(PATIENT, threads=0),
        checks=[concurrent()],
    )
    assert [str(result) for result in report.results] == [
        "skipped  concurrent_histories_are_linearizable\n    no threads were asked for"
    ]
    with pytest.raises(unittest.SkipTest):
        concurrent()(conformance.ReferenceStore(), replace(PATIENT, threads=0))


def test_a_history_made_by_chance_is_the_same_each_time():
    told = [
        str(
            conformance.run(
                conformance.broken.GrantForAnybody(),
                settings=replace(PATIENT, seed=5),
                checks=conformance.FORCED[-1:],
            )
        )
        for _ in range(2)
    ]
    assert told[0] == told[1]
    assert "failed" in told[0]


class HurriedClock:
    """A clock that goes by itself, by so many ms at each reading."""

    def __init__(self, step_ms):
        self.step_ms = step_ms
        self.reading_ms = 1_000_000
        self.slept_ms = 0

    def __call__(self):
        self.reading_ms += self.step_ms
        return self.reading_ms

    def sleep(self, seconds):
        self.slept_ms += round(seconds * 1000)
        # It wakes up too early now and then.
        self.reading_ms += max(1, round(seconds * 1000) - 3)


def on(host, ttl_ms):
    return replace(
        PATIENT,
        clock=lambda: conformance.SleepingClock(host, host.sleep),
        ttl_ms=ttl_ms,
        margin_ms=ttl_ms // 4,
        rounds=10,
    )


def test_a_clock_that_cannot_be_moved_is_waited_for():
    host = HurriedClock(1)
    report = conformance.run(
        conformance.ReferenceStore(),
        settings=on(host, 10_000),
        checks=conformance.FORCED,
    )
    assert {result.verdict for result in report.results} == {"passed"}, str(report)
    assert host.slept_ms > 10 * 10_000


@pytest.mark.parametrize("step_ms", [7, 40, 130])
def test_leases_that_run_out_between_two_calls_are_no_fault(step_ms):
    # As on a machine that stops for a while, again and again.
    report = conformance.run(
        conformance.ReferenceStore(),
        settings=on(HurriedClock(step_ms), 100),
        checks=conformance.FORCED,
    )
    assert report.ok, str(report)


def test_threads_move_a_shared_clock_together():
    clock = SharedClock(1_000)
    begun = Event()

    def move():
        begun.wait()
        for _ in range(100):
            clock.advance(1)

    threads = [Thread(target=move) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join()
    assert clock() == clock.advance(0) == 1_200


def test_the_names_of_the_plugin_are_loaded_when_they_are_used():
    assert dir(testing) == sorted(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = testing.no_such_name
