"""Following the streams of an execution: its versions, its positions, its hashes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from leasehold.adapters import codec
from leasehold.adapters.store import Row
from leasehold.domain.auditing import Gap
from leasehold.domain.errors import StoreError
from leasehold.domain.findings import AuditCheck

_HASH: Final = re.compile("[0-9a-f]{64}")
_SIDE_STREAMS: Final = ("/frames", "/refusals")
"""How the names of the streams end that tell nothing about who holds a lease."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with the log itself.

    Attributes:
        check: What it is.
        position: That of the event that it shows at.
        text: A sentence about it.
    """

    check: AuditCheck
    position: int
    text: str


class Links:
    """The streams of an execution, read by stream and version.

    Of each stream the first missing version, the first broken link and the first event
    that is out of place are told, and not what follows from them.

    Attributes:
        damages: What is wrong.
        gaps: Where it leaves the history of leases uncertain.
        broken: The positions of the events whose hash is not theirs.
    """

    __slots__ = (
        "_head",
        "_position",
        "_stream_id",
        "_told",
        "_version",
        "broken",
        "damages",
        "gaps",
    )

    def __init__(self) -> None:
        """Begin before the first stream."""
        self.damages: list[Damage] = []
        self.gaps: list[Gap] = []
        self.broken: set[int] = set()
        self._stream_id: Any = None
        self._told: set[AuditCheck] = set()
        self._version = self._position = 0
        self._head: str | None = codec.FIRST_HASH

    def take(self, rows: Iterable[Row]) -> None:
        """Go on with the next rows."""
        for row in rows:
            position, stream_id, version, topic, state = row
            if stream_id != self._stream_id:
                self._stream_id, self._told = stream_id, set()
                self._version, self._position = 0, 0
                self._head = codec.FIRST_HASH
            if version != self._version + 1 or position <= self._position:
                self._check_place(row)
                if type(version) is not int:
                    continue
            try:
                stored, content = codec.split(state)
                head = self._head
                expected = codec.hash_of(
                    stored if head is None else head, stream_id, version, topic, content
                )
            except (StoreError, ValueError, AttributeError) as error:
                self._break(row, None, f"its hash cannot be told: {error}")
            else:
                if stored == expected or head is None:
                    self._head = stored
                else:
                    self._break(
                        row,
                        stored if _HASH.fullmatch(stored) else None,
                        "its hash does not follow from its bytes, its place and the "
                        "hash before it: one of them was changed",
                    )
            self._version, self._position = version, position

    def _check_place(self, row: Row) -> None:
        position, _, version, *_ = row
        if type(version) is not int:
            text = f"its version is no number, but {str(version)[:80]!r}"
            self._tell(AuditCheck.VERSION_MISSING, row, text)
            self.gaps.append((position - 1, position + 1))
            return
        if version != self._version + 1:
            text = (
                f"version {version} is there twice"
                if version <= self._version
                else f"version {self._version + 1} is missing before it"
            )
            self._tell(AuditCheck.VERSION_MISSING, row, text)
            self._leave_gap(self._position, position)
            self._head = None
        elif position <= self._position:
            text = (
                f"it stands before the event of version {self._version}, which is at "
                f"position {self._position}"
            )
            self._tell(AuditCheck.UNREADABLE_EVENT, row, text)
            self._leave_gap(position - 1, self._position + 1)

    def _break(self, row: Row, head: str | None, text: str) -> None:
        self._head = head
        self.broken.add(row[0])
        self._tell(AuditCheck.BROKEN_CHAIN, row, text)
        self._leave_gap(row[0] - 1, row[0] + 1)

    def _leave_gap(self, before: int, after: int) -> None:
        if not str(self._stream_id).endswith(_SIDE_STREAMS):
            self.gaps.append((before, after))

    def _tell(self, check: AuditCheck, row: Row, text: str) -> None:
        position, stream_id, version, *_ = row
        if check not in self._told:
            self._told.add(check)
            place = f"stream {stream_id}, version {version}"
            self.damages.append(Damage(check, position, f"{place}: {text}"))
