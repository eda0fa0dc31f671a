"""Checkpoints: one line, kept elsewhere, by which a rewritten or cut log is seen."""

import hashlib
import json
from dataclasses import dataclass
from typing import Final, Self

from leasehold.adapters import codec
from leasehold.adapters.store import ReadSession
from leasehold.adapters.walking import PAGE
from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError, StoreError
from leasehold.domain.merge_patch import canonical_json

_HEX_DIGITS: Final = 64
_NAMES: Final = frozenset({"at_ms", "position", "sha256"})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Say what the log was at a time. `str` makes its line, `parse` reads one.

    Attributes:
        position: The last settled position then.
        sha256: Over the hashes of all events up to it, in log order, in hex.
        at_ms: When, ms since the Unix epoch.
    """

    position: int
    sha256: str
    at_ms: int

    def __str__(self) -> str:
        """Return the line, without its end."""
        told = {"at_ms": self.at_ms, "position": self.position, "sha256": self.sha256}
        return canonical_json(told)

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
        if not isinstance(told, dict) or told.keys() != _NAMES:
            message = (
                "a checkpoint is a JSON object with at_ms, position and sha256; got "
                f"{line!r:.100}"
            )
            raise InvalidInputError(message)
        sha256 = told["sha256"]
        if (
            not isinstance(sha256, str)
            or len(sha256) != _HEX_DIGITS
            or not set(sha256) <= set("0123456789abcdef")
        ):
            message = f"sha256 of a checkpoint is 64 hex digits; got {sha256!r:.100}"
            raise InvalidInputError(message)
        return cls(
            limits.integer(
                "position", told["position"], least=0, most=limits.POSITION_MAX
            ),
            sha256,
            limits.time_ms("at_ms", told["at_ms"]),
        )


def digest_until(session: ReadSession, position: int) -> tuple[str, int]:
    """Return the digest over the hashes up to a position, and the last one there is.

    Damaged events count with all their bytes, so that the digest differs.
    """
    digest = hashlib.sha256()
    after = last = 0
    while True:
        rows = session.fetch_all("log", after=after, most=PAGE)
        for row in rows:
            if row[0] > position:
                return digest.hexdigest(), last
            digest.update(_hash_in(row[4]))
            last = row[0]
        if len(rows) < PAGE:
            return digest.hexdigest(), last
        after = rows[-1][0]


def _hash_in(state: bytes) -> bytes:
    try:
        return bytes.fromhex(codec.split(state)[0])
    except (StoreError, ValueError):
        return state if isinstance(state, bytes) else repr(state).encode()
