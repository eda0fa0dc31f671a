"""Arguments that are nearly right: refused as input, with nothing written."""

import pytest

import leasehold
from leasehold import FailureClass, InvalidInputError

HUGE = 10**5000

PERCENTAGES = {
    "huge": HUGE,
    "infinite": float("inf"),
    "no number": float("nan"),
    "a flag": True,
    "text": "5",
}


@pytest.mark.parametrize("operation", ["revoke_lease", "cancel_execution"])
@pytest.mark.parametrize("reason", [None, 5, b"because"])
def test_a_reason_is_text(ledger, start, event_count, operation, reason) -> None:
    handle = start()
    before = event_count()
    with pytest.raises(InvalidInputError, match="reason"):
        getattr(ledger, operation)(handle.execution_id, actor="ann", reason=reason)
    assert event_count() == before


def test_a_reason_to_replay_is_text(ledger, start) -> None:
    handle = start()
    ledger.complete(handle)
    with pytest.raises(InvalidInputError, match="reason"):
        ledger.replay_execution(handle.execution_id, actor="ann", reason=None)


@pytest.mark.parametrize("number", [HUGE, -HUGE], ids=["huge", "minus huge"])
def test_a_number_of_thousands_of_digits_is_refused_by_name(ledger, number) -> None:
    with pytest.raises(InvalidInputError, match="priority"):
        ledger.create_execution(priority=number)
    with pytest.raises(InvalidInputError, match="delay_until_ms"):
        ledger.create_execution(delay_until_ms=number)
    with pytest.raises(InvalidInputError, match="delay_ms"):
        leasehold.Fixed(number)
    assert ledger.read.executions() == []


@pytest.mark.parametrize("given", PERCENTAGES)
def test_a_percentage_is_a_number_to_100(ledger, start, given) -> None:
    with pytest.raises(InvalidInputError, match="percent"):
        ledger.progress(start(), PERCENTAGES[given])


def test_a_released_view_is_no_payload(ledger) -> None:
    view = memoryview(b"payload")
    view.release()
    with pytest.raises(InvalidInputError, match="payload"):
        ledger.create_execution(payload=view)


def test_no_retry_policy_is_refused_alike_alone_and_in_a_batch(ledger) -> None:
    with pytest.raises(InvalidInputError, match="retry_policy"):
        ledger.create_execution(retry_policy=None)
    with pytest.raises(InvalidInputError, match="retry_policy"):
        ledger.create_executions([{"retry_policy": None}])


def test_topics_may_come_from_a_generator(ledger, start) -> None:
    start()
    wanted = (topic for topic in ["execution.claimed"])
    found = ledger.read.events(topics=wanted)
    assert [recorded.topic for recorded in found] == ["execution.claimed"]


@pytest.mark.parametrize("topics", [5, None, [[]], "execution.claimed", ["claimed"]])
def test_topics_are_a_collection_of_known_ones(ledger, topics) -> None:
    with pytest.raises(InvalidInputError, match="topics"):
        ledger.read.events(topics=topics)


@pytest.mark.parametrize("field", [{"kind": "zzz"}, {"backend": "zzz"}, {"kind": 5}])
def test_a_handle_takes_only_kinds_and_backends_that_there_are(start, field) -> None:
    with pytest.raises(InvalidInputError, match="handle"):
        start().replace(**field)


def test_a_handle_of_another_backend_named_by_text_is_refused(ledger, start) -> None:
    handle = start().replace(backend="valkey")
    with pytest.raises(InvalidInputError, match="Valkey") as raised:
        ledger.renew(handle)
    assert raised.value.code == "handle_from_other_backend"


def test_a_handle_keeps_its_secret_out_of_logs(start) -> None:
    handle = start()
    assert str(handle.lease_id) not in repr(handle)
    assert repr(handle.opaque) not in repr(handle)


def test_a_url_in_memory_the_sqlite_way_is_pointed_to_ours() -> None:
    with pytest.raises(InvalidInputError, match="'sqlite://'"):
        leasehold.open("sqlite:///:memory:")


def test_a_failure_class_is_one_that_there_is(ledger, start) -> None:
    handle = start()
    with pytest.raises(InvalidInputError, match="TRANSIENT"):
        ledger.fail(handle, "no", "sometimes")
    ledger.fail(handle, "no", FailureClass.PERMANENT)
