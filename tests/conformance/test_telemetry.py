"""What OpenTelemetry is told: instruments, attributes, spans."""

from __future__ import annotations

import pytest
from collecting import Collected, operations
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import leasehold

SYSTEMS = {"sqlite": "sqlite", "postgres": "postgresql"}
UNITS = {
    "leasehold.claims": "{claim}",
    "leasehold.renewals": "{renewal}",
    "leasehold.refusals": "{refusal}",
    "leasehold.errors": "{error}",
    "leasehold.expiries": "{lease}",
    "leasehold.executions": "{execution}",
    "leasehold.time_to_reclaim": "s",
    "leasehold.renewal_headroom": "s",
    "leasehold.commit.duration": "s",
    "leasehold.oldest_orphan": "s",
}


@pytest.fixture
def collected():
    made = Collected()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


@pytest.fixture
def told_of(ledger, collected):
    """Give the ledger in turn, instrumented."""
    ledger.instrument(
        meter_provider=collected.meters, tracer_provider=collected.tracers
    )
    return ledger


def test_every_instrument_has_its_unit_and_what_store_it_is_about(
    told_of, collected, clock, mismatched, backend
) -> None:
    work(told_of, clock, mismatched)
    found = collected.metrics()
    assert {name: metric.unit for name, metric in found.items()} == UNITS
    for metric in found.values():
        assert metric.description.endswith(".") or metric.description.endswith("one.")
        for point in metric.data.data_points:
            assert point.attributes["db.system.name"] == SYSTEMS[backend]


def work(ledger, clock, mismatched):
    """Let everything happen that there is an instrument for."""
    ledger.create_execution()
    handle = ledger.claim(worker_id="w", lease_ttl_ms=10_000)
    clock.advance(2_500)
    ledger.renew(handle)
    for _ in range(2):
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.renew(mismatched(handle))
    with pytest.raises(leasehold.IllegalTransitionError):
        ledger.replay_execution(handle.execution_id, actor="ann", reason="again")
    clock.advance(12_000)
    handle = ledger.claim(worker_id="w", lease_ttl_ms=10_000)
    clock.advance(10_250)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w")
    handle = ledger.claim_from_resume_grant(grant, worker_id="w")
    ledger.complete(handle)
    assert ledger.claim(worker_id="w") is None


def test_the_instruments_count_what_the_ledger_counts(
    told_of, collected, clock, mismatched
) -> None:
    work(told_of, clock, mismatched)
    points = collected.points
    assert points("leasehold.claims") == {
        (("leasehold.claim.kind", kind),): 1
        for kind in ("fresh", "reclaimed", "resumed", "empty")
    }
    assert points("leasehold.renewals") == {(): 1}
    assert points("leasehold.refusals") == {
        (("error.type", "lease_conflict"), ("leasehold.operation", "renew")): 2
    }
    assert points("leasehold.errors") == {
        (
            ("error.type", "illegal_transition"),
            ("leasehold.operation", "replay_execution"),
        ): 1
    }
    assert points("leasehold.expiries") == {(): 1}
    assert points("leasehold.executions") == {
        (("leasehold.outcome", "created"),): 1,
        (("leasehold.outcome", "completed"),): 1,
    }
    assert points("leasehold.renewal_headroom") == {(): 7.5}
    assert points("leasehold.time_to_reclaim") == {
        (("leasehold.claim.kind", "reclaimed"),): 2.0,
        (("leasehold.claim.kind", "resumed"),): 0.25,
    }
    commits = points("leasehold.commit.duration")
    assert {dict(key)["leasehold.operation"] for key in commits} == {
        "create_execution",
        "claim",
        "renew",
        "issue_resume_grant",
        "claim_from_resume_grant",
        "complete",
    }
    assert sum(commits.values()) * 1000 == pytest.approx(
        told_of.metrics().commit_time.sum_ms
    )


def test_the_parts_of_a_call_of_several_are_told_one_by_one(
    told_of, collected, start, mismatched
) -> None:
    told_of.renew_many([start(), mismatched(start())])
    assert collected.points("leasehold.renewals") == {(): 1}
    assert collected.points("leasehold.refusals") == {
        (("error.type", "lease_conflict"), ("leasehold.operation", "renew")): 1
    }
    assert collected.spans()[-1].status.status_code is StatusCode.UNSET


def test_a_histogram_has_the_buckets_of_the_ledgers_own(told_of, collected) -> None:
    told_of.create_execution()
    (point,) = collected.metrics()["leasehold.commit.duration"].data.data_points
    own = told_of.metrics().commit_time.buckets
    assert [1000 * bound for bound in point.explicit_bounds] == pytest.approx(
        list(own)[:-1]
    )
    assert list(point.bucket_counts) == list(own.values())


def test_a_call_is_a_span_with_its_end(told_of, collected, start, mismatched) -> None:
    handle = start()
    told_of.claim(worker_id="w")
    with pytest.raises(leasehold.LeaseConflictError) as refused:
        told_of.complete(mismatched(handle))
    created, claimed, empty, completed = collected.spans()
    one = str(handle.execution_id)
    for span, name, kind in (
        (created, "leasehold.create_execution", None),
        (claimed, "leasehold.claim", "fresh"),
        (empty, "leasehold.claim", "empty"),
        (completed, "leasehold.complete", None),
    ):
        assert span.name == name
        assert span.kind is SpanKind.INTERNAL
        assert span.parent is None
        assert span.attributes.get("leasehold.claim.kind") == kind
    assert empty.attributes.get("leasehold.execution.id") is None
    assert empty.status.status_code is StatusCode.UNSET
    for span in (created, claimed, completed):
        assert span.attributes["leasehold.execution.id"] == one
    assert completed.status.status_code is StatusCode.ERROR
    assert completed.status.description == str(refused.value)
    assert completed.attributes["error.type"] == "lease_conflict"
    assert "error.type" not in claimed.attributes


def test_every_operation_has_a_span(told_of, collected, clock, start) -> None:
    names = " ".join(operations(told_of, clock, start)).split()
    spans = collected.spans()
    assert [span.name for span in spans] == [f"leasehold.{name}" for name in names]
    about_one = [s for s in spans if "leasehold.execution.id" in s.attributes]
    assert {span.name for span in spans} - {span.name for span in about_one} == {
        "leasehold.create_executions",
        "leasehold.sweep",
    }


def test_what_goes_on_in_a_call_is_below_its_span(store_url, collected) -> None:
    tracer = collected.tracers.get_tracer("test")

    def clock():
        with tracer.start_as_current_span("clock"):
            return 1_700_000_000_000

    with leasehold.open(store_url, clock=clock) as ledger:
        ledger.instrument(
            meter_provider=collected.meters, tracer_provider=collected.tracers
        )
        with tracer.start_as_current_span("caller") as caller:
            ledger.create_execution()
            assert trace.get_current_span() is caller
    inner, outer, _ = collected.spans()
    assert inner.parent.span_id == outer.context.span_id
    assert outer.parent.span_id == caller.get_span_context().span_id


def test_the_oldest_orphan_is_asked_for_when_it_is_wanted(
    told_of, collected, clock, start
) -> None:
    assert collected.points("leasehold.oldest_orphan") == {(): 0}
    start(ttl=1_000)
    clock.advance(3_500)
    assert collected.points("leasehold.oldest_orphan") == {(): 2.5}
    told_of.close()
    assert "leasehold.oldest_orphan" not in collected.metrics()


def test_two_ledgers_of_a_provider_are_told_apart_by_attributes(
    new_store, collected, clock
) -> None:
    for number, kind in enumerate(("memory", "memory", "file")):
        ledger = leasehold.open(new_store(kind), clock=clock)
        name = "a" if number < 2 else "b"
        ledger.instrument(
            meter_provider=collected.meters,
            tracer_provider=collected.tracers,
            attributes={"ledger": name},
        )
        ledger.create_execution()
        ledger.claim(worker_id="w", lease_ttl_ms=1_000 * (number + 1))
        collected.__dict__.setdefault("ledgers", []).append(ledger)
    clock.advance(10_000)
    named = {name: (("ledger", name),) for name in "ab"}
    assert collected.points("leasehold.oldest_orphan") == {
        named["a"]: 9.0,
        named["b"]: 7.0,
    }
    assert set(collected.points("leasehold.claims").values()) == {1, 2}
    assert {span.attributes["ledger"] for span in collected.spans()} == {"a", "b"}
    for ledger in collected.ledgers:
        ledger.close()


def test_instrumenting_again_replaces_what_was_set(told_of, collected) -> None:
    other = Collected()
    told_of.instrument(
        meter_provider=other.meters,
        tracer_provider=other.tracers,
        attributes={"run": "2"},
    )
    told_of.create_execution()
    assert collected.spans() == ()
    assert collected.metrics() == {}
    assert len(other.spans()) == 1
    assert other.points("leasehold.oldest_orphan") == {(("run", "2"),): 0}
