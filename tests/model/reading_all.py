"""All that a reader can be asked, with all its answers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from leasehold import FrameMode, PublicState
from leasehold.adapters import walking
from leasehold.domain.catalogue import BY_TOPIC
from leasehold.projections.registry import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    import leasehold

PAGE = 7


def everything(
    read: leasehold.Reader, ids: Iterable[UUID], *, now: bool = True
) -> dict[str, Any]:
    """Return every answer; those that hang on the time only if `now`."""
    answers: dict[str, Any] = {
        "lanes": read.lanes(),
        "counts": read.counts(),
        "lease_events": paged(read, "event_id", "lease_events"),
        "events": paged(read, "position", "events"),
        "executions": executions(read),
        "settled": read.settled_position(),
        **of_lanes(read),
        **of_workers(read),
    }
    if now:
        answers["expired"] = read.expired_leases(), read.expired_leases(1)
        answers["orphan"] = read.oldest_orphan()
        answers["tenures"] = paged(read, "event_id", "tenures")
    for topic in BY_TOPIC:
        answers[topic] = read.events(topics=[topic])
    for execution_id in ids:
        answers |= of_execution(read, execution_id)
    return answers


def paged(read: leasehold.Reader, cursor: str, call: str) -> list[Any]:
    """Read page by page."""
    found: list[Any] = []
    while True:
        after = getattr(found[-1], cursor) if found else 0
        page = getattr(read, call)(after=after, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found


def executions(read: leasehold.Reader) -> list[Any]:
    """Read the executions page by page."""
    found: list[Any] = []
    while page := read.executions(
        limit=PAGE, after=found[-1].execution_id if found else None
    ):
        found += page
    return found


def of_lanes(read: leasehold.Reader) -> dict[str, Any]:
    """Ask by lane, state and namespace."""
    lanes, namespaces = [None, *read.lanes()], [None, "default", "second", "studio"]
    listed = {
        f"executions of {asked}": read.executions(*asked)
        for asked in itertools.product(lanes, [None, *PublicState], namespaces)
    }
    return listed | {f"counts of {lane}": read.counts(lane) for lane in lanes}


def of_workers(read: leasehold.Reader) -> dict[str, Any]:
    """Ask for what happened to the leases of each worker."""
    workers = {it.worker_id for it in read.lease_events()} - {None}
    return {
        f"leases of {worker}": read.lease_events(worker_id=worker)
        for worker in sorted(map(str, workers))
    }


def of_execution(read: leasehold.Reader, execution_id: UUID) -> dict[str, Any]:
    """Ask all that there is to ask about one execution."""
    attempts = read.attempts(execution_id)
    answers = {
        "execution": read.execution(execution_id),
        "attempts": attempts,
        "leases": read.lease_events(execution_id),
        "history": read.history(execution_id),
        "late history": read.history(execution_id, after=3, limit=2),
    }
    for index in range(len(attempts) + 1):
        answers |= {
            f"attempt {index}": read.attempt(execution_id, index),
            f"summary {index}": read.summary(execution_id, index),
            f"frames {index}": kept(read.frames(execution_id, index)),
            f"tail {index}": kept(read.tail_frames(execution_id, index, None, 0)),
        }
    return {f"{execution_id}: {name}": told for name, told in answers.items()}


def kept(frames: list[leasehold.FrameRow]) -> list[leasehold.FrameRow]:
    """Leave out the frames that are no history."""
    return [it for it in frames if it.mode is not FrameMode.BEST_EFFORT]


def tables(ledger: leasehold.Ledger) -> dict[str, list[dict[str, Any]]]:
    """Return all projected rows as they are kept, without best-effort frames."""
    behind: Any = ledger._store
    with behind.read() as session:
        return {
            name: [it for it in session.rows(name) if it.get("mode") != "best_effort"]
            for name in KEYS
        }


def bare_log(ledger: leasehold.Ledger) -> list[tuple[Any, ...]]:
    """Return the log as it is kept."""
    behind: Any = ledger._store
    with behind.read() as session:
        return [tuple(row) for row in walking.log(session)]
