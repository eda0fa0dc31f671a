"""Wrong use and bad luck: a message that a person can act on, and no damage."""

import pytest

import leasehold


def test_a_handle_of_another_store_is_not_found(shared_url, another_url, clock) -> None:
    with (
        leasehold.open(shared_url, clock=clock) as one,
        leasehold.open(another_url, clock=clock) as two,
    ):
        one.create_execution()
        two.create_execution()
        handle = one.claim(worker_id="w")
        for call in (
            lambda: two.renew(handle),
            lambda: two.progress(handle, 1),
            lambda: two.append_frame(handle, leasehold.Frame(b"x")),
            lambda: two.complete(handle),
            lambda: two.fail(handle, "r", leasehold.FailureClass.TRANSIENT),
        ):
            with pytest.raises(leasehold.NotFoundError, match="store") as refused:
                call()
            assert str(handle.execution_id) in str(refused.value)
        one.complete(handle)


def test_a_handle_cut_by_a_byte_is_corrupt(ledger, start) -> None:
    handle = start()
    cut = handle.replace(opaque=handle.opaque[:-1])
    with pytest.raises(leasehold.InvalidInputError) as refused:
        ledger.complete(cut)
    assert refused.value.code == "corrupt_handle"
    with pytest.raises(leasehold.InvalidInputError) as refused:
        leasehold.Handle.parse(str(handle)[:-1])
    assert refused.value.code == "corrupt_handle"
    ledger.complete(handle)


@pytest.mark.parametrize("opaque_bit", range(8))
def test_a_handle_with_a_flipped_bit_anywhere_is_corrupt(
    opaque_bit, ledger, start, event_count
) -> None:
    handle = start()
    before = event_count()
    for place in range(len(handle.opaque)):
        flipped = bytearray(handle.opaque)
        flipped[place] ^= 1 << opaque_bit
        with pytest.raises(leasehold.InvalidInputError) as refused:
            ledger.renew(handle.replace(opaque=bytes(flipped)))
        assert refused.value.code == "corrupt_handle"
    assert event_count() == before


BYTES_FOR_TEXT = {
    "lane_id": lambda k, h: k.create_execution(lane_id=b"lane"),
    "namespace": lambda k, h: k.create_execution(namespace=b"n"),
    "worker_id": lambda k, h: k.claim(worker_id=b"w"),
    "idempotency_key": lambda k, h: k.create_execution(idempotency_key=b"k"),
    "message": lambda k, h: k.progress(h, 1, b"half"),
    "reason": lambda k, h: k.cancel_execution(h.execution_id, actor="a", reason=b"r"),
    "actor": lambda k, h: k.revoke_lease(h.execution_id, actor=b"a", reason="r"),
    "frame_type": lambda k, h: k.append_frame(
        h, leasehold.Frame(b"x", frame_type=b"t")
    ),
    "correlation_id": lambda k, h: k.append_frame(
        h, leasehold.Frame(b"x", correlation_id=b"c")
    ),
    "detail": lambda k, h: k.fail(
        h, leasehold.FailureReason("m", b"d"), leasehold.FailureClass.TRANSIENT
    ),
}
TEXT_FOR_BYTES = {
    "payload": lambda k, h: k.create_execution(payload="text"),
    "result": lambda k, h: k.complete(h, "text"),
    "payload of a frame": lambda k, h: k.append_frame(h, leasehold.Frame("text")),
    "payload of a summary": lambda k, h: k.append_frame(
        h, leasehold.Frame("{}", mode=leasehold.Summary())
    ),
}


@pytest.mark.parametrize(
    ("name", "given"),
    [(name, "bytes") for name in BYTES_FOR_TEXT]
    + [(name, "str") for name in TEXT_FOR_BYTES],
)
def test_bytes_for_text_and_text_for_bytes_are_refused_by_name(
    name, given, ledger, start, snapshot
) -> None:
    make = (BYTES_FOR_TEXT | TEXT_FOR_BYTES)[name]
    handle = start()
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError, match=name.split()[0]) as refused:
        make(ledger, handle)
    assert given in str(refused.value)
    assert snapshot() == before


@pytest.mark.parametrize("presented", [None, "token", b"opaque", 5])
def test_what_is_no_handle_is_refused(presented, ledger, call) -> None:
    for operation in ("renew", "progress", "append_frame", "complete", "fail"):
        with pytest.raises(leasehold.InvalidInputError, match="handle"):
            call(ledger, operation, presented)


@pytest.mark.parametrize("presented", [None, "token", 5])
def test_what_is_no_grant_is_refused(presented, ledger) -> None:
    with pytest.raises(leasehold.LeaseholdError, match="grant"):
        ledger.claim_from_resume_grant(presented, worker_id="w")


def test_an_argument_that_there_is_not_is_refused_in_a_batch(
    ledger, event_count
) -> None:
    with pytest.raises((leasehold.InvalidInputError, TypeError), match="priorty"):
        ledger.create_executions([{}, {"priorty": 5}])
    assert event_count() == 0


@pytest.mark.parametrize("reading", [None, "now", 1.5])
def test_a_clock_that_tells_no_time_is_told(reading, store_url) -> None:
    with (
        leasehold.open(store_url, clock=lambda: reading) as ledger,
        pytest.raises(leasehold.LeaseholdError, match="clock"),
    ):
        ledger.create_execution()


def test_a_clock_that_breaks_writes_nothing(store_url) -> None:
    readings = iter([1_700_000_000_000])

    def clock():
        return next(readings)

    with leasehold.open(store_url, clock=clock) as ledger:
        execution_id = ledger.create_execution()
        with pytest.raises((StopIteration, leasehold.LeaseholdError, RuntimeError)):
            ledger.create_execution()
        assert len(ledger.read.events()) == 1
        assert ledger.read.execution(execution_id) is not None
