"""Resume grants: the token, and the check of a grant that is presented."""

import base64
import zlib
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasehold.domain.errors import InvalidGrantError, InvalidInputError
from leasehold.domain.grants import RecordedGrant, ResumeGrant, check_grant, check_known

GRANT = ResumeGrant(
    grant_id=UUID("00000000-0000-4000-8000-00000000000a"),
    execution_id=UUID("018f0000-0000-7000-8000-000000000001"),
    worker_id="worker-1",
    expires_at_ms=2_000,
)
RECORDED = RecordedGrant(
    grant_id=GRANT.grant_id,
    execution_id=GRANT.execution_id,
    worker_id="worker-1",
    expires_at_ms=2_000,
    used_at_ms=None,
)
TOKEN = "grant.AQAAAAAAAEAAgAAAAAAAAAoBjwAAAABwAIAAAAAAAAABAAAAAAAAB9B3b3JrZXItMW4Jw04"

workers = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=128
).filter(lambda name: name == name.strip())
grants = st.builds(ResumeGrant, st.uuids(), st.uuids(), workers, st.integers(0, 2**53))


def test_a_token_of_this_version_is_read_for_ever() -> None:
    assert str(GRANT) == TOKEN
    assert ResumeGrant.parse(TOKEN) == GRANT


@given(grants)
def test_a_grant_comes_back_from_its_token(grant) -> None:
    token = str(grant)
    assert ResumeGrant.parse(token) == grant
    assert token.isascii()
    assert not set(token) & set("+/= ")


@given(grants, st.data())
def test_a_changed_letter_is_noticed(grant, data) -> None:
    token = str(grant)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[place]))
    with pytest.raises(InvalidInputError):
        ResumeGrant.parse(token[:place] + letter + token[place + 1 :])


@pytest.mark.parametrize("length", range(len(TOKEN)))
def test_a_token_cut_anywhere_is_refused(length) -> None:
    with pytest.raises(InvalidInputError, match="does not decode") as raised:
        ResumeGrant.parse(TOKEN[:length])
    assert raised.value.code == "invalid_input"


@pytest.mark.parametrize("given_", [None, 7, TOKEN.encode(), GRANT])
def test_what_is_not_text_is_refused(given_) -> None:
    with pytest.raises(InvalidInputError):
        ResumeGrant.parse(given_)


def check(recorded, *, worker_id="worker-1", now_ms=1_999):
    known = check_known(GRANT, recorded)
    check_grant(known, worker_id=worker_id, now_ms=now_ms)


def test_a_grant_serves_its_worker_until_its_last_millisecond() -> None:
    check(RECORDED)


USED = replace(RECORDED, used_at_ms=1_500)
REFUSED = {
    "unknown": ((None, "worker-2", 2_000), "not recorded in this store"),
    "another execution's": (
        (replace(USED, execution_id=UUID(int=1)), "worker-2", 2_000),
        "not recorded in this store",
    ),
    "used, late, another worker": ((USED, "worker-2", 2_000), "used at 1500 ms"),
    "late, another worker": ((RECORDED, "worker-2", 2_000), "ran out at 2000 ms"),
    "late": ((RECORDED, "worker-1", 2_000), "ran out at 2000 ms"),
    "another worker": (
        (RECORDED, "worker-2", 1_999),
        "issued for worker 'worker-1', not for 'worker-2'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_grant_is_refused_in_the_order_of_the_contract(case) -> None:
    (recorded, worker_id, now_ms), told = REFUSED[case]
    with pytest.raises(InvalidGrantError, match=told):
        check(recorded, worker_id=worker_id, now_ms=now_ms)


def test_what_is_recorded_decides_and_not_what_is_presented() -> None:
    forged = replace(GRANT, worker_id="worker-2", expires_at_ms=10**12)
    with pytest.raises(InvalidGrantError, match="ran out"):
        check_grant(check_known(forged, RECORDED), worker_id="worker-2", now_ms=2_000)
    with pytest.raises(InvalidGrantError, match="issued for"):
        check_grant(check_known(forged, RECORDED), worker_id="worker-2", now_ms=1_000)


def test_a_token_whose_worker_is_no_name_is_refused() -> None:
    packed = GRANT.expires_at_ms.to_bytes(8, "big") + b"w\xff"
    packed = b"\x01" + GRANT.grant_id.bytes + GRANT.execution_id.bytes + packed
    packed += zlib.crc32(packed).to_bytes(4, "big")
    token = "grant." + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
    with pytest.raises(InvalidInputError, match="does not decode"):
        ResumeGrant.parse(token)


@pytest.mark.parametrize(
    "field", [{"expires_at_ms": -1}, {"worker_id": ""}, {"grant_id": "no"}]
)
def test_a_grant_has_only_fields_that_grants_have(field) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(field))):
        replace(GRANT, **field)


def with_checksum(packed: bytes) -> str:
    packed += zlib.crc32(packed).to_bytes(4, "big")
    return "grant." + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


@pytest.mark.parametrize("length", [0, 33, 36, 40, 41])
def test_a_token_without_room_for_a_worker_is_refused(length) -> None:
    packed = b"\x01" + GRANT.grant_id.bytes + GRANT.execution_id.bytes + bytes(8)
    with pytest.raises(InvalidInputError, match="the grant does not decode"):
        ResumeGrant.parse(with_checksum(packed[:length]))


def test_a_token_may_end_with_any_letter() -> None:
    made = [replace(GRANT, worker_id=f"worker-{number}") for number in range(1_000)]
    assert {str(grant)[-1] for grant in made} >= {"A", "X", "w", "8", "-", "_"}
    assert [ResumeGrant.parse(str(grant)) for grant in made] == made


@pytest.mark.parametrize(
    "field",
    [
        {"grant_id": "no"},
        {"execution_id": "no"},
        {"worker_id": "w" * 129},
        {"expires_at_ms": -1},
    ],
)
def test_a_field_that_no_grant_has_is_named(field) -> None:
    (name,) = field
    with pytest.raises(InvalidInputError, match=f"^{name} must be"):
        replace(GRANT, **field)
    assert replace(GRANT, worker_id="w" * 128).worker_id == "w" * 128
