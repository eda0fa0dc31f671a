"""Handles: they cross processes whole, or not at all."""

import pickle
import re
import subprocess
import sys
import uuid

import pytest

import leasehold


@pytest.fixture
def handle(start):
    return start(worker="w", ttl=60_000)


def assert_corrupt(token):
    with pytest.raises(leasehold.InvalidInputError) as refused:
        leasehold.Handle.parse(token)
    assert refused.value.code == "corrupt_handle"


def test_text_and_back_is_equal(handle) -> None:
    again = leasehold.Handle.parse(str(handle))
    assert again == handle
    assert hash(again) == hash(handle)
    assert again.lease_id == handle.lease_id
    assert again.lease_expires_at_ms == handle.lease_expires_at_ms


def test_the_token_is_safe_in_a_url(handle) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", str(handle))


@pytest.mark.parametrize("kind", ["FRESH", "RESUMED", "RECLAIMED"])
@pytest.mark.parametrize("tag", ["SQLITE", "POSTGRES", "VALKEY"])
def test_every_backend_and_kind_crosses(tag, kind, handle) -> None:
    changed = handle.replace(
        backend=leasehold.BackendTag[tag], kind=leasehold.HandleKind[kind]
    )
    again = leasehold.Handle.parse(str(changed))
    assert again == changed
    assert again.backend is leasehold.BackendTag[tag]
    assert again.kind is leasehold.HandleKind[kind]


def test_a_token_cut_anywhere_is_corrupt(handle) -> None:
    token = str(handle)
    for end in range(len(token)):
        assert_corrupt(token[:end])
        assert_corrupt(token[end + 1 :])


def test_a_token_without_one_of_its_bytes_is_corrupt(handle) -> None:
    token = str(handle)
    for place in range(len(token)):
        assert_corrupt(token[:place] + token[place + 1 :])


def test_a_token_with_any_bit_flipped_is_corrupt(handle) -> None:
    token = str(handle).encode()
    for place in range(len(token)):
        for bit in range(8):
            flipped = bytearray(token)
            flipped[place] ^= 1 << bit
            assert_corrupt(flipped.decode("latin-1"))


def test_a_token_with_something_added_is_corrupt(handle) -> None:
    token = str(handle)
    for added in (" ", "\n", "=", "A", ".", "\0", "é"):
        assert_corrupt(token + added)
        assert_corrupt(added + token)


@pytest.mark.parametrize(
    "token", ["", "nonsense", "..", "sqlite.fresh.", "é", "\ud800", None, 7, b"bytes"]
)
def test_what_is_no_token_is_corrupt(token) -> None:
    assert_corrupt(token)


def test_a_pickle_is_equal(handle) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(handle, protocol)) == handle


def test_replace_makes_a_changed_copy(handle) -> None:
    lease_id, execution_id = uuid.uuid4(), uuid.uuid4()
    changed = handle.replace(
        lease_id=lease_id,
        lease_epoch=999,
        execution_id=execution_id,
        attempt_index=7,
        lease_expires_at_ms=5,
    )
    assert changed.lease_id == lease_id
    assert changed.lease_epoch == 999
    assert changed.execution_id == execution_id
    assert changed.attempt_index == 7
    assert changed.lease_expires_at_ms == 5
    assert (changed.backend, changed.kind) == (handle.backend, handle.kind)
    assert changed != handle
    assert handle.lease_epoch == 1
    assert handle.replace() == handle


def test_a_handle_cannot_be_changed_in_place(handle) -> None:
    for field in ("backend", "opaque", "lease_epoch", "execution_id", "lease_id"):
        # CPython 3.11 answers for a property of a slotted class with a TypeError.
        with pytest.raises((AttributeError, TypeError)):
            setattr(handle, field, getattr(handle, field))


def test_a_handle_is_used_through_its_token_by_another_ledger(
    shared_url, clock
) -> None:
    with leasehold.open(shared_url, clock=clock) as one:
        execution_id = one.create_execution()
        token = str(one.claim(worker_id="w"))
    with leasehold.open(shared_url, clock=clock) as two:
        two.complete(leasehold.Handle.parse(token), b"done")
        assert two.read.execution(execution_id).result == b"done"


def test_a_handle_is_used_through_its_token_by_another_process(shared_url) -> None:
    script = (
        "import leasehold, sys\n"
        "with leasehold.open(sys.argv[1]) as ledger:\n"
        "    handle = leasehold.Handle.parse(sys.argv[2])\n"
        "    ledger.complete(handle, b'from another process')\n"
    )
    with leasehold.open(shared_url) as ledger:
        execution_id = ledger.create_execution()
        token = str(ledger.claim(worker_id="w", lease_ttl_ms=600_000))
        subprocess.run([sys.executable, "-c", script, shared_url, token], check=True)
        row = ledger.read.execution(execution_id)
    assert row.result == b"from another process"


def test_the_kind_is_no_part_of_the_fence(ledger, handle) -> None:
    ledger.complete(handle.replace(kind=leasehold.HandleKind.RESUMED))


def test_the_expiry_in_a_handle_opens_nothing(ledger, clock, handle) -> None:
    clock.advance(60_000)
    later = handle.replace(lease_expires_at_ms=clock() + 1_000_000)
    with pytest.raises(leasehold.LeaseExpiredError):
        ledger.renew(later)
