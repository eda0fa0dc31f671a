"""Several claims, renewals and completions in one transaction, each for itself."""

import uuid

import pytest

import leasehold

TTL_MS = 30_000


@pytest.fixture
def held(ledger):
    """Claim some executions one by one, in the order of their creation."""

    def claim(count, **options):
        ledger.create_executions([{}] * count)
        return [ledger.claim(worker_id="w", **options) for _ in range(count)]

    return claim


def foreign(handle):
    """Return a handle with a lease that never was."""
    return handle.replace(lease_id=uuid.uuid4(), lease_epoch=999)


def test_claims_come_best_first(ledger) -> None:
    low, high, middle = ledger.create_executions(
        [{"priority": 1}, {"priority": 3}, {"priority": 2}]
    )
    handles = ledger.claim_many(2, worker_id="w", worker_instance_id="i")
    assert [handle.execution_id for handle in handles] == [high, middle]
    assert len({handle.lease_id for handle in handles}) == 2
    (left,) = ledger.claim_many(2, worker_id="w")
    assert left.execution_id == low
    assert ledger.claim_many(2, worker_id="w") == []


def test_claims_are_what_single_ones_are(ledger, clock, lease_rows) -> None:
    """Kinds, capabilities, lanes and what comes due."""
    taken_over = ledger.create_execution(lane_id="lane")
    ledger.claim("lane", worker_id="lost", lease_ttl_ms=1_000)
    delayed = ledger.create_execution(lane_id="lane", delay_until_ms=clock() + 500)
    ledger.create_execution(lane_id="lane", capabilities=["gpu"])
    ledger.create_execution(lane_id="another")
    clock.advance(1_000)
    handles = ledger.claim_many(9, "lane", worker_id="w", lease_ttl_ms=2_000)
    told = {handle.execution_id: handle.kind for handle in handles}
    assert told == {
        taken_over: leasehold.HandleKind.RECLAIMED,
        delayed: leasehold.HandleKind.FRESH,
    }
    assert {handle.lease_expires_at_ms for handle in handles} == {clock() + 2_000}
    assert [row["event_type"] for row in lease_rows(taken_over)] == [
        "acquired",
        "expired",
        "reclaimed",
    ]


def test_claims_of_others_are_passed_over(ledger) -> None:
    ids = set(ledger.create_executions([{}] * 6))
    some = ledger.claim_many(4, worker_id="a")
    others = ledger.claim_many(4, worker_id="b")
    assert [len(some), len(others)] == [4, 2]
    assert {handle.execution_id for handle in (*some, *others)} == ids


def test_all_leases_are_renewed(ledger, held, clock) -> None:
    handles = held(5, lease_ttl_ms=TTL_MS)
    clock.advance(7)
    before = len(ledger.read.events())
    renewals = ledger.renew_many(handles)
    assert renewals == [leasehold.LeaseRenewal(clock() + TTL_MS, 1)] * 5
    assert len(ledger.read.events()) == before + 5


def test_one_that_is_refused_does_not_spoil_the_others(
    ledger, held, clock, lease_rows
) -> None:
    good, fenced, gone, last = held(4)
    (expired,) = held(1, lease_ttl_ms=1_000)
    unknown = good.replace(execution_id=uuid.uuid4())
    ledger.cancel_execution(gone.execution_id, actor="a", reason="r")
    clock.advance(1_000)
    asked = [good, unknown, foreign(fenced), gone, expired, last]
    answers = ledger.renew_many(asked)
    assert [type(answer) for answer in answers] == [
        leasehold.LeaseRenewal,
        leasehold.NotFoundError,
        leasehold.LeaseConflictError,
        leasehold.ExecutionNotActiveError,
        leasehold.LeaseExpiredError,
        leasehold.LeaseRenewal,
    ]
    assert lease_rows(good.execution_id)[-1]["event_type"] == "renewed"
    refused = lease_rows(gone.execution_id)[-1]
    assert (refused["event_type"], refused["operation"]) == ("refused", "renew")
    assert ledger.verify().ok


def test_the_errors_say_what_single_calls_say(ledger, held) -> None:
    (handle,) = held(1)
    wrong = foreign(handle)
    (answer,) = ledger.renew_many([wrong])
    with pytest.raises(leasehold.LeaseConflictError) as raised:
        ledger.renew(wrong)
    assert str(answer) == str(raised.value)


def test_the_order_of_the_answers_is_that_of_the_handles(ledger, held, clock) -> None:
    ttls_ms = (2_000, 3_000, 1_000)
    handles = [handle for ttl_ms in ttls_ms for handle in held(1, lease_ttl_ms=ttl_ms)]
    clock.advance(1)
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        clock.advance(1)
        renewals = ledger.renew_many(handles[number] for number in order)
        told = [renewal.expires_at_ms for renewal in renewals]
        assert told == [clock() + ttls_ms[number] for number in order]


def test_a_handle_that_comes_twice_is_renewed_twice(ledger, held) -> None:
    (handle,) = held(1)
    first, second = ledger.renew_many([handle, handle])
    assert second.expires_at_ms == first.expires_at_ms + 1


def test_all_are_completed(ledger, held) -> None:
    handles = held(3)
    results = [b"one", None, b"three"]
    assert ledger.complete_many(zip(handles, results, strict=True)) == [None] * 3
    for handle, result in zip(handles, results, strict=True):
        row = ledger.read.execution(handle.execution_id)
        assert row is not None
        assert (row.public_state, row.result) == ("completed", result)


def test_a_completion_that_is_repeated_answers_alike(ledger, held) -> None:
    one, other = held(2)
    ledger.complete(one, b"done")
    events = len(ledger.read.events())
    again, done, differing = ledger.complete_many(
        [(one, b"done"), (other, b"done"), (one, b"other")]
    )
    assert (again, done) == (None, None)
    assert isinstance(differing, leasehold.ExecutionNotActiveError)
    assert len(ledger.read.events()) == events + 2 + 1


def test_nothing_asked_is_nothing_done(ledger) -> None:
    assert ledger.renew_many([]) == []
    assert ledger.complete_many([]) == []
    assert ledger.read.events() == []


WRONG = [
    (lambda ledger, handle: ledger.renew_many(handle), "handles"),
    (lambda ledger, handle: ledger.renew_many("handles"), "handles"),
    (lambda ledger, handle: ledger.renew_many([handle, str(handle)]), "handle"),
    (lambda ledger, handle: ledger.renew_many([handle] * 10_001), "10000"),
    (
        lambda ledger, handle: ledger.renew_many(
            [handle, handle.replace(backend=leasehold.BackendTag.VALKEY)]
        ),
        "Valkey",
    ),
    (lambda ledger, handle: ledger.complete_many([handle]), "pairs"),
    (lambda ledger, handle: ledger.complete_many([(handle, "text")]), "result"),
    (
        lambda ledger, handle: ledger.complete_many([(handle, b""), (handle, 1)]),
        "result",
    ),
    (lambda ledger, handle: ledger.claim_many(0, worker_id="w"), "limit"),
    (lambda ledger, handle: ledger.claim_many(10_001, worker_id="w"), "limit"),
    (lambda ledger, handle: ledger.claim_many(True, worker_id="w"), "limit"),
    (lambda ledger, handle: ledger.claim_many(1, worker_id=""), "worker_id"),
]


@pytest.mark.parametrize(("call", "named"), WRONG, ids=map(str, range(len(WRONG))))
def test_wrong_arguments_are_named_and_nothing_is_written(
    call, named, ledger, held
) -> None:
    (handle,) = held(1)
    ledger.create_execution()
    before = len(ledger.read.events())
    with pytest.raises(leasehold.InvalidInputError, match=named):
        call(ledger, handle)
    assert len(ledger.read.events()) == before


def test_live_figures_count_each_of_several(ledger, held) -> None:
    ledger.create_executions([{}] * 3)
    handles = ledger.claim_many(5, worker_id="w")
    ledger.claim_many(1, worker_id="w")
    ledger.renew_many([*handles, foreign(handles[0])])
    ledger.complete_many((handle, None) for handle in handles)
    figures = ledger.metrics()
    assert figures.claims[leasehold.HandleKind.FRESH] == 3
    assert figures.empty_claims == 1
    assert figures.renewals == 3
    assert figures.completions == 3
    assert figures.refusals == {"lease_conflict": 1}
