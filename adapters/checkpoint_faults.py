"""Holding a log against checkpoints: which of them fail, and what that tells.

The checkpoints are looked at in the order of their positions. One that fails covers an
event that is not what it was when its line was made. One that holds, and covers the
same events, was made when they were already as they are now. So a run of lines that
fail says where the log was changed (after the position of the last one before the run
that holds) and when (after the last line of the run was made, and before the next one
that holds).
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from leasehold.adapters.checkpoints import Checkpoint, digests_until
from leasehold.adapters.store import ReadSession


class CheckpointFault(NamedTuple):
    """What is wrong with the log by some checkpoints, or with their order.

    Attributes:
        position: Of the first of them.
        text: What is wrong, for a person.
    """

    position: int
    text: str


class _Held(NamedTuple):
    """A checkpoint, and what is wrong with it; nothing where the log agrees."""

    checkpoint: Checkpoint
    wrong: str


def checkpoint_faults(
    session: ReadSession, checkpoints: Sequence[Checkpoint]
) -> Iterator[CheckpointFault]:
    """Hold the log against checkpoints, in one pass over it.

    Gives one fault for each run of checkpoints that fail, by position.
    """
    held = _held(session, checkpoints)
    runs = [
        (is_wrong, list(run))
        for is_wrong, run in groupby(held, key=lambda one: bool(one.wrong))
    ]
    for number, (is_wrong, run) in enumerate(runs):
        if is_wrong:
            before = runs[number - 1][1][-1] if number else None
            after = runs[number + 1][1][0] if number + 1 < len(runs) else None
            text = _told(run, before, after, of=len(held))
            yield CheckpointFault(run[0].checkpoint.position, text)
    yield from _faults_of_order(checkpoints)


def _held(session: ReadSession, checkpoints: Sequence[Checkpoint]) -> list[_Held]:
    ordered = sorted(checkpoints, key=_place)
    if not ordered:
        return []
    positions = [checkpoint.position for checkpoint in ordered]
    found = digests_until(session, positions)
    return [
        _Held(checkpoint, _what_is_wrong(checkpoint, sha256, last))
        for checkpoint, (sha256, last) in zip(ordered, found, strict=True)
    ]


def _place(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.position, checkpoint.at_ms


def _what_is_wrong(checkpoint: Checkpoint, sha256: str, last: int) -> str:
    if last < checkpoint.position:
        return (
            f"it ends with the event at position {checkpoint.position}, which is not "
            f"there: the log was cut, or has another event after position {last}"
        )
    if sha256 != checkpoint.sha256:
        return (
            f"the hashes of the events up to position {checkpoint.position} are not "
            "those that it tells of: they were rewritten"
        )
    return ""


def _told(
    run: Sequence[_Held], before: _Held | None, after: _Held | None, *, of: int
) -> str:
    text = f"the checkpoint {run[0].checkpoint.shown} does not hold: {run[0].wrong}"
    if of == 1:
        return text
    last = run[-1].checkpoint
    if len(run) > 1:
        text += f"; {len(run)} in a row do not hold, up to that {last.shown}"
    text += (
        "; none before it holds"
        if before is None
        else f"; the last one before it that holds is that {before.checkpoint.shown}"
    )
    if after is None:
        return (
            f"{text}; none after it holds, so the change came when they had all been "
            "made, or they are not of this log"
        )
    return (
        f"{text}; the next one, {after.checkpoint.shown}, holds, so the change came "
        "before that one was made, or the failing lines are not of this log"
    )


def _faults_of_order(checkpoints: Sequence[Checkpoint]) -> Iterator[CheckpointFault]:
    """Say where a log had become shorter from one checkpoint to the next in time."""
    in_time = sorted(checkpoints, key=lambda one: (one.at_ms, one.position))
    for earlier, later in pairwise(in_time):
        if later.position < earlier.position:
            text = (
                f"the checkpoint {later.shown} comes after the one {earlier.shown}: "
                "the log had been cut in between, or was another one, or the clock "
                "was turned back"
            )
            yield CheckpointFault(later.position, text)
