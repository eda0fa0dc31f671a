"""Resume grants: an operator's word that one worker may go on with an attempt."""

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from leasehold.domain import limits
from leasehold.domain.errors import InvalidGrantError, InvalidInputError
from leasehold.domain.handles import decode_token_bytes

_PREFIX: Final = "grant."
_HEAD: Final = struct.Struct(">B16s16sQ")
_CHECKSUM: Final = struct.Struct(">I")
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class ResumeGrant:
    """A recorded, single-use right to resume, bound to an execution and a worker.

    `str(grant)` is a URL-safe token, `ResumeGrant.parse` its inverse.

    Attributes:
        grant_id: A random id.
        execution_id: The execution that may be resumed.
        worker_id: The worker that may resume it.
        expires_at_ms: The grant serves before this time, ms since the Unix epoch.
    """

    grant_id: UUID
    execution_id: UUID
    worker_id: str
    expires_at_ms: int

    def __post_init__(self) -> None:
        """Refuse fields that no grant has."""
        limits.identifier("grant_id", self.grant_id)
        limits.identifier("execution_id", self.execution_id)
        limits.name("worker_id", self.worker_id, bytes_max=limits.WORKER_BYTES_MAX)
        limits.integer(
            "expires_at_ms", self.expires_at_ms, least=0, most=limits.POSITION_MAX
        )

    def __str__(self) -> str:
        """Return a token of letters, digits and `.-_`."""
        packed = _HEAD.pack(
            _FORMAT, self.grant_id.bytes, self.execution_id.bytes, self.expires_at_ms
        )
        packed += self.worker_id.encode()
        packed += _CHECKSUM.pack(zlib.crc32(packed))
        return _PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def parse(cls, token: str) -> Self:
        """Read a token that `str(grant)` wrote.

        Raises:
            InvalidInputError: `invalid_input`: not such a token, or a part of one.
        """
        raw = None
        if isinstance(token, str) and token.startswith(_PREFIX):
            raw = decode_token_bytes(token.removeprefix(_PREFIX))
        if raw is None or len(raw) <= _HEAD.size + _CHECKSUM.size:
            raise _corrupt()
        packed, checksum = raw[: -_CHECKSUM.size], raw[-_CHECKSUM.size :]
        if _CHECKSUM.pack(zlib.crc32(packed)) != checksum:
            raise _corrupt()
        form, grant_id, execution_id, expires_at_ms = _HEAD.unpack_from(packed)
        worker_id = packed[_HEAD.size :].decode("ascii", errors="replace")
        if form != _FORMAT or not worker_id.isascii():
            raise _corrupt()
        return cls(
            UUID(bytes=grant_id), UUID(bytes=execution_id), worker_id, expires_at_ms
        )


def _corrupt() -> InvalidInputError:
    message = "the grant does not decode: pass the text of str(grant) whole"
    return InvalidInputError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGrant:
    """A grant as the ledger knows it."""

    grant_id: UUID
    execution_id: UUID
    worker_id: str
    expires_at_ms: int
    used_at_ms: int | None


def check_known(grant: ResumeGrant, recorded: RecordedGrant | None) -> RecordedGrant:
    """Hold a presented grant against the one recorded under its id.

    Raises:
        InvalidGrantError: There is none, or it is for another execution.
    """
    if recorded is None or recorded.execution_id != grant.execution_id:
        raise InvalidGrantError(
            f"grant {grant.grant_id} is not recorded in this store; "
            "it may come from another one"
        )
    return recorded


def check_grant(recorded: RecordedGrant, *, worker_id: str, now_ms: int) -> None:
    """Say whether a known grant serves this worker now.

    Raises:
        InvalidGrantError: In this order: used, run out, another worker's.
    """
    if recorded.used_at_ms is not None:
        raise InvalidGrantError(
            f"grant {recorded.grant_id} was used at {recorded.used_at_ms} ms; "
            "a grant serves once, ask for another"
        )
    if now_ms >= recorded.expires_at_ms:
        raise InvalidGrantError(
            f"grant {recorded.grant_id} ran out at {recorded.expires_at_ms} ms and it "
            f"is {now_ms} ms; ask for another"
        )
    if worker_id != recorded.worker_id:
        raise InvalidGrantError(
            f"grant {recorded.grant_id} was issued for worker "
            f"{recorded.worker_id!r}, not for {worker_id!r}"
        )
