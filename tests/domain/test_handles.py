"""The handle, its packed lease and its token."""

import base64
import zlib
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasehold.domain.errors import InvalidInputError
from leasehold.domain.handles import (
    BackendTag,
    Handle,
    HandleKind,
    Lease,
    check_handle,
    decode_lease,
    decode_token_bytes,
    encode_lease,
)

LEASE = Lease(
    execution_id=UUID("018f0000-0000-7000-8000-000000000001"),
    attempt_index=3,
    lease_epoch=5,
    lease_id=UUID("00000000-0000-4000-8000-000000000002"),
    expires_at_ms=1_700_000_030_000,
)
HANDLE = Handle(BackendTag.SQLITE, HandleKind.FRESH, encode_lease(LEASE))
TOKEN = (
    "sqlite.fresh.AQGPAAAAAHAAgAAAAAAAAAEAAAADAAAAAAAAAAUAAAAAAABAAIAAAAAAA"
    "AACAAABi8_l3TAARI8A"
)

leases = st.builds(
    Lease,
    execution_id=st.uuids(),
    attempt_index=st.integers(0, 2**32 - 1),
    lease_epoch=st.integers(1, 2**63 - 1),
    lease_id=st.uuids(),
    expires_at_ms=st.integers(0, 2**63 - 1),
)


def corrupt(opaque) -> bool:
    try:
        decode_lease(opaque)
    except InvalidInputError as error:
        return error.code == "corrupt_handle"
    return False


def test_a_token_of_this_version_is_read_for_ever() -> None:
    assert str(HANDLE) == TOKEN
    assert Handle.parse(TOKEN) == HANDLE


def test_a_handle_shows_its_lease() -> None:
    assert HANDLE.execution_id == LEASE.execution_id
    assert HANDLE.attempt_index == 3
    assert HANDLE.lease_epoch == 5
    assert HANDLE.lease_id == LEASE.lease_id
    assert HANDLE.lease_expires_at_ms == 1_700_000_030_000


@given(leases)
def test_a_lease_comes_back_from_its_bytes(lease) -> None:
    assert decode_lease(encode_lease(lease)) == lease


@given(leases, st.sampled_from(BackendTag), st.sampled_from(HandleKind))
def test_a_handle_comes_back_from_its_token(lease, backend, kind) -> None:
    handle = Handle(backend, kind, encode_lease(lease))
    assert Handle.parse(str(handle)) == handle


@given(leases, st.data())
def test_a_flipped_bit_is_noticed(lease, data) -> None:
    opaque = bytearray(encode_lease(lease))
    bit = data.draw(st.integers(0, len(opaque) * 8 - 1))
    opaque[bit // 8] ^= 1 << bit % 8
    assert corrupt(bytes(opaque))


@given(leases, st.data())
def test_a_cut_is_noticed(lease, data) -> None:
    opaque = encode_lease(lease)
    assert corrupt(opaque[: data.draw(st.integers(0, len(opaque) - 1))])


@given(st.binary(max_size=80))
def test_no_bytes_that_were_not_packed_decode(opaque) -> None:
    assert corrupt(opaque)


@pytest.mark.parametrize("opaque", [None, "text", bytearray(encode_lease(LEASE)), 7])
def test_what_is_not_bytes_is_corrupt(opaque) -> None:
    assert corrupt(opaque)


@pytest.mark.parametrize(
    "field", [{"lease_epoch": 0}, {"lease_epoch": -1}, {"expires_at_ms": -1}]
)
def test_an_epoch_or_a_time_that_no_lease_has_is_corrupt(field) -> None:
    assert corrupt(encode_lease(replace(LEASE, **field)))


def last_part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


NO_TOKENS = {
    "nothing": "",
    "two parts": "sqlite.fresh",
    "four parts": f"{TOKEN}.x",
    "an unknown backend": TOKEN.replace("sqlite", "oracle"),
    "an unknown kind": TOKEN.replace("fresh", "stale"),
    "another case": TOKEN.replace("sqlite", "SQLITE"),
    "padding": f"{TOKEN}=",
    "a space before": f" {TOKEN}",
    "a newline after": f"{TOKEN}\n",
    "the other alphabet": TOKEN.replace("_", "/"),
    "a letter beyond ASCII": TOKEN[:-1] + "é",
    "too few bytes": f"sqlite.fresh.{last_part(b'abc')}",
}


@pytest.mark.parametrize("case", NO_TOKENS)
def test_what_is_no_token_is_corrupt(case) -> None:
    with pytest.raises(InvalidInputError, match="does not decode") as raised:
        Handle.parse(NO_TOKENS[case])
    assert raised.value.code == "corrupt_handle"


@pytest.mark.parametrize("given_", [None, 7, TOKEN.encode(), HANDLE])
def test_what_is_not_text_is_corrupt(given_) -> None:
    with pytest.raises(InvalidInputError, match="a token is text") as raised:
        Handle.parse(given_)
    assert raised.value.code == "corrupt_handle"


@given(st.text(max_size=120))
def test_any_text_is_a_token_or_corrupt_and_nothing_else(text) -> None:
    with pytest.raises(InvalidInputError):
        Handle.parse(text)


@given(st.text("AQgw-_=+/ é\n", max_size=8))
def test_each_run_of_bytes_has_one_text_only(text) -> None:
    raw = decode_token_bytes(text)
    if raw is not None:
        assert base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text


@pytest.mark.parametrize(
    "field",
    [
        {"execution_id": UUID(int=9)},
        {"attempt_index": 0},
        {"lease_epoch": 999},
        {"lease_id": UUID(int=9)},
        {"lease_expires_at_ms": 1},
        {"backend": BackendTag.VALKEY},
        {"kind": HandleKind.RESUMED},
    ],
)
def test_replace_changes_that_field_and_no_other(field) -> None:
    names = (
        "backend",
        "kind",
        "execution_id",
        "attempt_index",
        "lease_epoch",
        "lease_id",
        "lease_expires_at_ms",
    )
    changed = HANDLE.replace(**field)
    expected = {name: getattr(HANDLE, name) for name in names} | field
    assert {name: getattr(changed, name) for name in names} == expected


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"epoch": 2}, "'epoch'"),
        ({"attempt_index": -1}, "attempt_index"),
        ({"lease_epoch": 2**63}, "lease_epoch"),
        ({"lease_epoch": "2"}, "lease_epoch"),
        ({"execution_id": "x"}, "execution_id"),
        ({"lease_id": None}, "lease_id"),
    ],
)
def test_replace_refuses_what_does_not_fit(fields, named) -> None:
    with pytest.raises(InvalidInputError, match=named):
        HANDLE.replace(**fields)


def test_a_handle_of_this_backend_opens_to_its_lease() -> None:
    assert check_handle(HANDLE, BackendTag.SQLITE) == LEASE


@pytest.mark.parametrize(
    ("given_", "here", "named"),
    [
        (BackendTag.VALKEY, BackendTag.SQLITE, "issued by Valkey .* on SQLite"),
        (BackendTag.SQLITE, BackendTag.POSTGRES, "issued by SQLite .* on PostgreSQL"),
    ],
)
def test_a_handle_of_another_backend_is_refused_by_name(given_, here, named) -> None:
    with pytest.raises(InvalidInputError, match=named) as raised:
        check_handle(HANDLE.replace(backend=given_), here)
    assert raised.value.code == "handle_from_other_backend"


def test_a_corrupt_handle_of_another_backend_is_told_corrupt() -> None:
    handle = Handle(BackendTag.VALKEY, HandleKind.FRESH, b"")
    with pytest.raises(InvalidInputError) as raised:
        check_handle(handle, BackendTag.SQLITE)
    assert raised.value.code == "corrupt_handle"


@pytest.mark.parametrize("given_", [TOKEN, None, encode_lease(LEASE)])
def test_what_is_no_handle_is_refused(given_) -> None:
    with pytest.raises(InvalidInputError, match=r"Handle\.parse"):
        check_handle(given_, BackendTag.SQLITE)


def test_the_kinds_and_backends_are_stored_under_these_names() -> None:
    assert [str(kind) for kind in HandleKind] == ["fresh", "resumed", "reclaimed"]
    assert [str(tag) for tag in BackendTag] == ["sqlite", "postgres", "valkey"]


def test_a_handle_is_printed_without_its_secret() -> None:
    assert "opaque" not in repr(HANDLE)
    assert str(LEASE.lease_id) not in repr(HANDLE)


def test_the_handle_of_a_lease_is_the_one_that_its_token_gives() -> None:
    made = Handle.of(BackendTag.SQLITE, HandleKind.FRESH, LEASE)
    assert made == HANDLE
    assert made.lease is LEASE


def packed(**others) -> bytes:
    form = others.pop("form", 1)
    bare = bytes([form]) + encode_lease(replace(LEASE, **others))[1:-4]
    return bare + zlib.crc32(bare).to_bytes(4, "big")


CORRUPT = {
    "short": (b"x", "its opaque part must be 57 bytes"),
    "altered": (encode_lease(LEASE)[:-1] + b"x", "its checksum does not match"),
    "of a later format": (packed(form=2), "its format is 2 and this version reads 1"),
    "no epoch": (packed(lease_epoch=0), "an epoch or a time that no lease has"),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_what_does_not_decode_says_why_and_what_to_do(case) -> None:
    opaque, why = CORRUPT[case]
    with pytest.raises(InvalidInputError, match=why) as raised:
        decode_lease(opaque)
    assert raised.value.code == "corrupt_handle"
    assert "pass the text of str(handle) whole" in str(raised.value)


MISREAD = {
    "no text": (b"x", "a token is text, and this is bytes"),
    "two parts": ("sqlite.fresh", "a token has three parts joined by dots"),
    "of nobody": ("mysql.fresh.AAAA", "it names no known backend and kind"),
    "not base64url": ("sqlite.fresh.A+==", "its last part is not base64url"),
}


@pytest.mark.parametrize("case", MISREAD)
def test_what_is_no_token_says_why(case) -> None:
    token, why = MISREAD[case]
    with pytest.raises(InvalidInputError, match=f"the handle does not decode: {why};"):
        Handle.parse(token)


def test_a_copy_that_cannot_be_says_why() -> None:
    with pytest.raises(InvalidInputError) as raised:
        HANDLE.replace(colour="red")
    assert str(raised.value) == (
        "a handle has no field 'colour'; it has backend, kind, opaque, execution_id, "
        "attempt_index, lease_epoch, lease_id, lease_expires_at_ms"
    )
    with pytest.raises(InvalidInputError, match="cannot take it: 'mysql' is not"):
        HANDLE.replace(backend="mysql")
    with pytest.raises(InvalidInputError, match="cannot take attempt_index, lease_ep"):
        HANDLE.replace(lease_epoch=-1, attempt_index=-1)
