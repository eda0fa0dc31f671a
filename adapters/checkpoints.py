"""Checkpoints: one line, kept elsewhere, by which a rewritten or cut log is seen."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from leasehold.adapters import codec, walking
from leasehold.adapters.store import ReadSession
from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.merge_patch import canonical_json

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_SIGNATURE: Final = re.compile("[0-9a-f]{128}")
_NAMES: Final = frozenset({"at_ms", "position", "sha256"})
_NAMES_SIGNED: Final = _NAMES | {"key", "signature"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Say what the log was at a time. `str` makes its line, `parse` reads one.

    Attributes:
        position: The last settled position then.
        sha256: Over the hashes of all events up to it, in log order, in hex.
        at_ms: When, ms since the Unix epoch.
        key: The fingerprint of the public key that the signature is checked by: the
            SHA-256 of its DER form (SubjectPublicKeyInfo), in hex; None where the
            line is not signed.
        signature: Of `signed_bytes`, by Ed25519 (RFC 8032), in hex.
    """

    position: int
    sha256: str
    at_ms: int
    key: str | None = None
    signature: str | None = None

    def __str__(self) -> str:
        """Return the line, without its end."""
        told = self._told()
        if self.signature is not None:
            told["signature"] = self.signature
        return canonical_json(told)

    @property
    def signed_bytes(self) -> bytes:
        """What a signature is over: the line without it, and without its end."""
        return canonical_json(self._told()).encode()

    @property
    def shown(self) -> str:
        """What a person tells it from others by: its position and its time."""
        at = _EPOCH + timedelta(milliseconds=self.at_ms)
        return f"of {at:%Y-%m-%d %H:%M:%S}Z at position {self.position}"

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "at_ms": self.at_ms,
            "position": self.position,
            "sha256": self.sha256,
        }
        if self.key is not None:
            told["key"] = self.key
        return told

    @classmethod
    def parse(cls, line: str | bytes) -> Self:
        """Read a line.

        Raises:
            InvalidInputError: It is not one; the message says why.
        """
        try:
            told = json.loads(line)
        except (ValueError, RecursionError, TypeError):
            told = None
        if not isinstance(told, dict) or told.keys() not in (_NAMES, _NAMES_SIGNED):
            message = (
                "a checkpoint is a JSON object with at_ms, position and sha256, and "
                f"with key and signature where it is signed; got {line!r:.100}"
            )
            raise InvalidInputError(message)
        is_signed = "signature" in told
        return cls(
            limits.integer(
                "position", told["position"], least=0, most=limits.POSITION_MAX
            ),
            _hex("sha256", told["sha256"], _DIGEST),
            limits.time_ms("at_ms", told["at_ms"]),
            _hex("key", told["key"], _DIGEST) if is_signed else None,
            _hex("signature", told["signature"], _SIGNATURE) if is_signed else None,
        )


def _hex(name: str, value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        digits = 128 if pattern is _SIGNATURE else 64
        message = f"{name} of a checkpoint is {digits} hex digits; got {value!r:.100}"
        raise InvalidInputError(message)
    return value


Lines = Checkpoint | str | bytes | Iterable[Checkpoint | str | bytes]
"""A checkpoint or its line, or several of them."""


def parse_all(lines: Lines) -> tuple[Checkpoint, ...]:
    """Read one line, or each of several.

    Raises:
        InvalidInputError: One of several is no checkpoint, and the message says which;
            or there is none.
    """
    if isinstance(lines, Checkpoint):
        return (lines,)
    if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
        return (Checkpoint.parse(lines),)
    found: list[Checkpoint] = []
    for number, line in enumerate(lines, start=1):
        try:
            parsed = line if isinstance(line, Checkpoint) else Checkpoint.parse(line)
        except InvalidInputError as error:
            message = f"checkpoint {number} of those given: {error}"
            raise InvalidInputError(message) from error
        found.append(parsed)
    if not found:
        message = "there is no checkpoint among those given: `checkpoint()` makes one"
        raise InvalidInputError(message)
    return tuple(found)


def digest_until(session: ReadSession, position: int) -> tuple[str, int]:
    """Return the digest over the hashes up to a position, and the last one there is.

    Damaged events count with all their bytes, so that the digest differs.
    """
    return next(digests_until(session, (position,)))


def digests_until(
    session: ReadSession, positions: Sequence[int]
) -> Iterator[tuple[str, int]]:
    """Give what `digest_until` returns for each of some positions, in one pass.

    Args:
        session: One consistent view of a store.
        positions: At least one; in ascending order.
    """
    digest = hashlib.sha256()
    last, waiting = 0, list(reversed(positions))
    for row in walking.log(session):
        while row[0] > waiting[-1]:
            yield digest.hexdigest(), last
            waiting.pop()
            if not waiting:
                return
        digest.update(_hash_in(row[4]))
        last = row[0]
    for _ in waiting:
        yield digest.hexdigest(), last


def _hash_in(state: bytes) -> bytes:
    try:
        return bytes.fromhex(codec.split(state)[0])
    except (StoreError, ValueError):
        return state if isinstance(state, bytes) else repr(state).encode()
