"""The handle of a lease: what a worker holds, and how it crosses processes."""

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Self
from uuid import UUID

from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError

_FORMAT: Final = 1
_LAYOUT: Final = struct.Struct(">B16sIq16sq")
"""Format, execution id, attempt index, lease epoch, lease id, expiry in ms."""
_CHECKSUM: Final = struct.Struct(">I")
_OPAQUE_BYTES: Final = _LAYOUT.size + _CHECKSUM.size
_TOKEN_PARTS: Final = 3


class BackendTag(StrEnum):
    """Name the kind of store that a handle was issued by."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"
    VALKEY = "valkey"

    @property
    def title_case(self) -> str:
        """The name as its makers write it."""
        return {"sqlite": "SQLite", "postgres": "PostgreSQL", "valkey": "Valkey"}[self]


class HandleKind(StrEnum):
    """Tell how the lease was acquired."""

    FRESH = "fresh"
    RESUMED = "resumed"
    RECLAIMED = "reclaimed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Hold what a handle says inside: which lease of which attempt.

    Attributes:
        expires_at_ms: As of issue; renewals do not change a handle.
    """

    execution_id: UUID
    attempt_index: int
    lease_epoch: int
    lease_id: UUID
    expires_at_ms: int


def encode_lease(lease: Lease) -> bytes:
    """Pack a lease with a CRC-32, so that a torn or altered handle is noticed.

    The checksum guards against accidents. Against guessing there is the lease id, a
    random number of 122 bits.
    """
    packed = _LAYOUT.pack(
        _FORMAT,
        lease.execution_id.bytes,
        lease.attempt_index,
        lease.lease_epoch,
        lease.lease_id.bytes,
        lease.expires_at_ms,
    )
    return packed + _CHECKSUM.pack(zlib.crc32(packed))


def decode_lease(opaque: bytes) -> Lease:
    """Unpack what `encode_lease` packed.

    Raises:
        InvalidInputError: `corrupt_handle`: not such bytes, cut or altered.
    """
    if not isinstance(opaque, bytes) or len(opaque) != _OPAQUE_BYTES:
        raise _corrupt(f"its opaque part must be {_OPAQUE_BYTES} bytes")
    packed, checksum = opaque[: _LAYOUT.size], opaque[_LAYOUT.size :]
    if _CHECKSUM.pack(zlib.crc32(packed)) != checksum:
        raise _corrupt("its checksum does not match, it was altered or cut")
    form, execution, attempt_index, lease_epoch, lease, expires = _LAYOUT.unpack(packed)
    if form != _FORMAT:
        raise _corrupt(f"its format is {form} and this version reads {_FORMAT}")
    if lease_epoch < 1 or expires < 0:
        raise _corrupt("it holds an epoch or a time that no lease has")
    return Lease(
        execution_id=UUID(bytes=execution),
        attempt_index=attempt_index,
        lease_epoch=lease_epoch,
        lease_id=UUID(bytes=lease),
        expires_at_ms=expires,
    )


def _corrupt(why: str) -> InvalidInputError:
    message = f"the handle does not decode: {why}; pass the text of str(handle) whole"
    return InvalidInputError(message, code="corrupt_handle")


@dataclass(frozen=True)
class Handle:
    """A worker's right to one attempt, until its lease runs out.

    `str(handle)` is a URL-safe token that crosses processes, `Handle.parse` its
    inverse. Treat it as a secret: who has it can write as the worker.

    Attributes:
        backend: The kind of store that issued it.
        kind: FRESH, RESUMED (by a grant) or RECLAIMED (taken over by a claim).
        opaque: The lease, packed.
    """

    backend: BackendTag
    kind: HandleKind
    opaque: bytes = field(repr=False)

    @classmethod
    def of(cls, backend: BackendTag, kind: HandleKind, lease: Lease) -> Self:
        """Make the handle of a lease; it knows its lease without decoding it."""
        handle = cls(backend, kind, encode_lease(lease))
        handle.__dict__["lease"] = lease
        return handle

    @cached_property
    def lease(self) -> Lease:
        """What the opaque part says.

        Raises:
            InvalidInputError: `corrupt_handle`: it does not decode.
        """
        return decode_lease(self.opaque)

    @property
    def execution_id(self) -> UUID:
        """The execution."""
        return self.lease.execution_id

    @property
    def attempt_index(self) -> int:
        """The attempt, from 0."""
        return self.lease.attempt_index

    @property
    def lease_epoch(self) -> int:
        """The fencing number of the lease, from 1."""
        return self.lease.lease_epoch

    @property
    def lease_id(self) -> UUID:
        """The random id of the lease."""
        return self.lease.lease_id

    @property
    def lease_expires_at_ms(self) -> int:
        """When the lease ran to as of issue, in ms since the Unix epoch."""
        return self.lease.expires_at_ms

    def __str__(self) -> str:
        """Return a token of letters, digits and `.-_`."""
        text = base64.urlsafe_b64encode(self.opaque).rstrip(b"=").decode()
        return f"{self.backend}.{self.kind}.{text}"

    @classmethod
    def parse(cls, token: str) -> Self:
        """Read a token that `str(handle)` wrote.

        Raises:
            InvalidInputError: `corrupt_handle`: not such a token, or a part of one.
        """
        if not isinstance(token, str):
            kind = type(token).__name__
            raise _corrupt(f"a token is text, and this is {kind}")
        parts = token.split(".")
        if len(parts) != _TOKEN_PARTS:
            raise _corrupt("a token has three parts joined by dots")
        try:
            backend, kind_of = BackendTag(parts[0]), HandleKind(parts[1])
        except ValueError:
            raise _corrupt("it names no known backend and kind") from None
        opaque = decode_token_bytes(parts[2])
        if opaque is None:
            raise _corrupt("its last part is not base64url")
        decode_lease(opaque)
        return cls(backend, kind_of, opaque)

    def replace(self, **fields: Any) -> Self:  # noqa: ANN401 - fields of several types
        """Make a changed copy.

        Args:
            fields: Any of backend, kind, opaque, execution_id, attempt_index,
                lease_epoch, lease_id, lease_expires_at_ms.

        Raises:
            InvalidInputError: An unknown field, or a value that does not fit it.
        """
        outer = {key: fields.pop(key) for key in _OUTER_FIELDS if key in fields}
        unknown = sorted(fields.keys() - _INNER_FIELDS.keys())
        if unknown:
            known = ", ".join((*_OUTER_FIELDS, *_INNER_FIELDS))
            message = f"a handle has no field {unknown[0]!r}; it has {known}"
            raise InvalidInputError(message)
        try:
            outer["backend"] = BackendTag(outer.get("backend", self.backend))
            outer["kind"] = HandleKind(outer.get("kind", self.kind))
        except ValueError as error:
            raise InvalidInputError(f"the handle cannot take it: {error}") from None
        changed = replace(self, **outer)
        if not fields:
            return changed
        inner = {_INNER_FIELDS[key]: value for key, value in fields.items()}
        try:
            lease = replace(decode_lease(changed.opaque), **inner)
            return replace(changed, opaque=encode_lease(lease))
        except (struct.error, AttributeError) as error:
            message = f"the handle cannot take {', '.join(sorted(fields))}: {error}"
            raise InvalidInputError(message) from None


_OUTER_FIELDS: Final = ("backend", "kind", "opaque")
_INNER_FIELDS: Final = {
    "execution_id": "execution_id",
    "attempt_index": "attempt_index",
    "lease_epoch": "lease_epoch",
    "lease_id": "lease_id",
    "lease_expires_at_ms": "expires_at_ms",
}


def decode_token_bytes(text: str) -> bytes | None:
    """Read unpadded base64url; None where the text is not its one canonical form."""
    try:
        raw = base64.b64decode(
            text.encode("ascii") + b"=" * (-len(text) % 4),
            altchars=b"-_",
            validate=True,
        )
    except (binascii.Error, ValueError):
        return None
    canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return raw if canonical == text else None


def check_handle(handle: Handle, backend: BackendTag) -> Lease:
    """Decode a handle and hold it against the backend that it is used on.

    Raises:
        InvalidInputError: `corrupt_handle`, or `handle_from_other_backend` with both
            names.
    """
    if not isinstance(handle, Handle):
        raise limits.refuse("handle", handle, "a Handle (text is read by Handle.parse)")
    lease = handle.lease
    if handle.backend != backend:
        given = getattr(handle.backend, "title_case", repr(handle.backend))
        message = (
            f"the handle was issued by {given} and this ledger is on "
            f"{backend.title_case}; use it on the ledger that issued it"
        )
        raise InvalidInputError(message, code="handle_from_other_backend")
    return lease
