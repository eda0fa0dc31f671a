"""Bundles that are taken in at once, or beside others who write, on PostgreSQL."""

import io
import threading
import time
from contextlib import closing, contextmanager

import pytest
from outsiders import outsider_of

import leasehold

WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
OTHER = "ab" * 32
KEY = "once"
WAIT_S_MAX = 20


def bundle_of(*specs, redact=False) -> bytes:
    target = io.BytesIO()
    with leasehold.open("sqlite://") as ledger:
        ledger.create_executions(specs)
        ledger.export(target, redact=redact)
    return target.getvalue()


@pytest.fixture
def ledger(own_url):
    with leasehold.open(own_url) as opened:
        yield opened


@pytest.fixture
def meanwhile(own_url, ledger):
    """Run a call of another ledger in a thread, until it waits for a lock."""

    @contextmanager
    def begun(call):
        done = []

        def run() -> None:
            try:
                done.append(call(another))
            except leasehold.LeaseholdError as error:
                done.append(error)

        thread = threading.Thread(target=run)

        def start() -> None:
            thread.start()
            until = time.monotonic() + WAIT_S_MAX
            while not (outsider.execute(WAITS) or done):
                assert time.monotonic() < until
                time.sleep(0.002)

        with (
            leasehold.open(own_url) as another,
            closing(outsider_of(own_url)) as outsider,
        ):
            yield start, done
            thread.join(WAIT_S_MAX)

    return begun


def test_of_two_redacted_bundles_that_come_at_once_both_are_remembered(
    ledger, meanwhile
) -> None:
    bundle = bundle_of({"payload": b"confidential"}, redact=True)
    ledger.create_execution()
    with (
        meanwhile(lambda it: it.import_bundle(io.BytesIO(bundle))) as (start, done),
        ledger._store.write() as session,
    ):
        session.note_redacted(OTHER)
        assert session.redacted_from() == (OTHER,)
        start()
    expected = (OTHER, done[0].header.original_sha256)
    assert ledger.verify().redacted_from == expected
    with ledger._store.write() as session:
        session.note_redacted(OTHER)
    assert ledger.verify().redacted_from == expected


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_key_that_is_being_taken_in_cannot_be_created(
    is_empty, ledger, meanwhile
) -> None:
    bundle = bundle_of({"idempotency_key": KEY}, {})
    if not is_empty:
        ledger.create_execution()

    def create(another):
        return another.create_execution(lane_id="other", idempotency_key=KEY)

    with meanwhile(create) as (start, done):
        ledger.import_bundle(
            io.BytesIO(bundle), progress=lambda n, _: start() if n == 1 else None
        )
    assert isinstance(done[0], leasehold.ConflictError), done
    assert ledger.verify().ok


def test_an_empty_store_is_written_to_when_all_positions_are_taken(
    ledger, meanwhile
) -> None:
    bundle = bundle_of({}, {}, {})
    with meanwhile(lambda another: another.create_execution()) as (start, done):
        ledger.import_bundle(
            io.BytesIO(bundle), progress=lambda n, _: start() if n == 1 else None
        )
    events = ledger.read.events()
    assert [it.position for it in events] == [1, 2, 3, 4]
    assert events[-1].event.execution_id == done[0]
    assert ledger.verify().ok
