"""What a worker is told when it is made, checked at the door."""

import math
import os
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from leasehold.adapters.holding.failing import check_failure_classes
from leasehold.adapters.holding.keeping import RenewOn
from leasehold.adapters.holding.remaining import margin_of
from leasehold.domain import limits
from leasehold.domain.states import FailureClass

Word = TypeVar("Word", bound=StrEnum)

_SECONDS_MAX: Final = 86_400.0
_HOST_CHARACTERS_MAX: Final = 64


class RunIn(StrEnum):
    """Tell where handlers that are plain functions run.

    Attributes:
        THREAD: Each in a thread of the worker's process.
        PROCESS: Each in another process, of which the worker has some.
    """

    THREAD = "thread"
    PROCESS = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTerms:
    """How a worker works; `Worker` has the meaning."""

    lanes: tuple[str, ...]
    capabilities: tuple[str, ...]
    worker_id: str
    worker_instance_id: str | None
    run_in: RunIn
    concurrency: int
    lease_ttl_ms: int
    renew_on: RenewOn
    grace_s: float
    poll_s: tuple[float, float]
    failure_classes: Mapping[type[BaseException], FailureClass]
    sweep: bool

    @property
    def instance_id(self) -> str:
        """Which process this is: as given, else the host's name and the process id."""
        if self.worker_instance_id is not None:
            return self.worker_instance_id
        host = socket.gethostname()[:_HOST_CHARACTERS_MAX]
        return f"{host.encode('ascii', 'replace').decode()}-{os.getpid()}"


def check_terms(  # noqa: PLR0913 - what `Worker` takes
    *,
    lanes: Iterable[str],
    capabilities: Iterable[str],
    worker_id: str,
    worker_instance_id: str | None,
    run_in: RunIn | str,
    concurrency: int,
    lease_ttl_ms: int,
    renew_on: RenewOn | str,
    grace_s: float,
    poll_s: tuple[float, float],
    failure_classes: Mapping[type[BaseException], FailureClass] | None,
    sweep: bool,
) -> WorkerTerms:
    """Check how a worker is to work.

    Raises:
        InvalidInputError: An argument breaks its rule.
    """
    most = limits.WORKER_BYTES_MAX
    limits.name("worker_id", worker_id, bytes_max=most)
    if worker_instance_id is not None:
        limits.name("worker_instance_id", worker_instance_id, bytes_max=most)
    limits.integer("concurrency", concurrency, least=1, most=limits.SEVERAL_MAX)
    limits.integer("lease_ttl_ms", lease_ttl_ms, least=1, most=limits.LEASE_TTL_MS_MAX)
    margin_of(lease_ttl_ms, None)
    return WorkerTerms(
        lanes=_lanes(lanes),
        capabilities=limits.capabilities("capabilities", capabilities),
        worker_id=worker_id,
        worker_instance_id=worker_instance_id,
        run_in=_one_of("run_in", RunIn, run_in),
        concurrency=concurrency,
        lease_ttl_ms=lease_ttl_ms,
        renew_on=_one_of("renew_on", RenewOn, renew_on),
        grace_s=seconds("grace_s", grace_s),
        poll_s=_poll(poll_s),
        failure_classes=check_failure_classes(failure_classes),
        sweep=sweep,
    )


def seconds(field: str, value: float) -> float:
    """Check a time in seconds, 0 to a day.

    Raises:
        InvalidInputError: It is none.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or math.isnan(value) or not 0 <= value <= _SECONDS_MAX:
        raise limits.refuse(field, value, f"seconds, 0 to {_SECONDS_MAX:.0f}")
    return float(value)


def _one_of(field: str, words: type[Word], given: Word | str) -> Word:
    try:
        return words(given)
    except ValueError:
        rule = " or ".join(repr(str(word)) for word in words)
        raise limits.refuse(field, given, rule) from None


def _lanes(given: Iterable[str]) -> tuple[str, ...]:
    lanes = tuple(limits.several("lanes", given))
    if not lanes:
        raise limits.refuse("lanes", lanes, "at least one lane")
    for lane_id in lanes:
        limits.name("lanes", lane_id)
    return tuple(dict.fromkeys(lanes))


def _poll(given: tuple[float, float]) -> tuple[float, float]:
    rule = "a pair of seconds, the shortest pause (over 0) and the longest"
    if not isinstance(given, Collection) or isinstance(given, str | bytes):
        raise limits.refuse("poll_s", given, rule)
    pauses_s = tuple(seconds("poll_s", pause_s) for pause_s in given)
    match pauses_s:
        case (least_s, most_s) if 0 < least_s <= most_s:
            return least_s, most_s
    raise limits.refuse("poll_s", given, rule)
