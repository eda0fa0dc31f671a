"""Choices read from bytes, so that one harness serves two fuzzers.

hypothesis and libFuzzer both give bytes; what is to be built is decided by them. Where
they end, every choice is the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Choice = TypeVar("Choice")


class Choices:
    """Reads choices from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def are_left(self) -> bool:
        """Say whether there are bytes left."""
        return bool(self._data)

    def number(self, most: int) -> int:
        """Choose from 0 to `most`."""
        length = (most.bit_length() + 7) // 8
        taken, self._data = self._data[:length], self._data[length:]
        return int.from_bytes(taken, "big") % (most + 1)

    def one_of(self, several: Sequence[Choice]) -> Choice:
        """Choose one."""
        return several[self.number(len(several) - 1)]

    def piece(self, most: int) -> bytes:
        """Choose some bytes."""
        length = self.number(most)
        taken, self._data = self._data[:length], self._data[length:]
        return bytes(taken)

    def rest(self) -> bytes:
        """Take what is left."""
        taken, self._data = self._data, self._data[:0]
        return bytes(taken)
