"""Cutting the power after some change of the files, and looking at what is left."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from disks import Files
from scripted_work import NAME

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from disks import Change

_SHM_BYTES: Final = 32 * 1024


class Cut(NamedTuple):
    """What was left by a cut.

    Attributes:
        kind: `kept`: all of it, as a kill does; `synced`: what was synced; `torn`: some
            sectors of the rest as well.
        at: After which change.
        answered: The last step that was answered by then; -1 without any.
        files: What is there.
    """

    kind: str
    at: int
    answered: int
    files: dict[str, bytes]


def cuts(
    changes: Sequence[Change],
    made: Sequence[tuple[int, int]],
    places: Container[int],
    torn: int,
) -> Iterator[Cut]:
    """Cut the power after some changes, each time anew.

    Args:
        changes: All that happened to the files.
        made: After which change which step was answered.
        places: After which changes to cut.
        torn: How often to draw which sectors are there.
    """
    files, left, answered = Files(), list(made), -1
    last: tuple[dict[str, bytes], int] = ({}, answered)
    for at, change in enumerate(changes, 1):
        files.change(change)
        while left and left[0][0] <= at:
            answered = left.pop(0)[1]
        if at not in places:
            continue
        yield Cut("kept", at, answered, files.kept())
        synced = (files.synced(), answered)
        if synced != last:
            yield Cut("synced", at, answered, synced[0])
            last = synced
        for seed in range(torn):
            chance = Random(at * torn + seed)
            # Nothing is ever synced of this file.
            some = {**files.torn(chance), f"{NAME}-shm": chance.randbytes(_SHM_BYTES)}
            yield Cut("torn", at, answered, some)
