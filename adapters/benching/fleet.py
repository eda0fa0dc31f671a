"""A fleet of processes: workers and a submitter, to be killed, stopped and started."""

import signal
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from leasehold.adapters.benching.children import Child, Told
from leasehold.adapters.benching.submitting import MODULE as SUBMITTING
from leasehold.adapters.benching.submitting import SubmitOrder
from leasehold.adapters.benching.witness import Witness
from leasehold.adapters.benching.working import MODULE as WORKING
from leasehold.adapters.benching.working import WorkOrder

SUBMITTER: Final = "submitter"
KINDS: Final = ("loop", "worker")

_ENDING_S: Final = 60.0
_ENDED_WELL: Final = (0, -signal.SIGTERM)
"""A process that was only just started does not handle the signal yet."""


@dataclass(frozen=True, slots=True)
class FleetOrder:
    """What a fleet is.

    Attributes:
        url: Of the store; it is there.
        durability: As of `leasehold.open`.
        kinds: Of its workers, one for each; see `working`.
        lease_ttl_ms: Of their leases.
        work_ms: How long an execution takes, on the average.
        failing: What part of all attempts fails, to be retried; 0 … 1.
        seed: What chance begins with.
    """

    url: str
    durability: str
    kinds: tuple[str, ...]
    lease_ttl_ms: int
    work_ms: int
    failing: float
    seed: int


class Fleet:
    """The processes by name; a name that was killed is given to the next process.

    Attributes:
        witness: Hears what they tell.
        started: How many processes were started, by name.
    """

    def __init__(self, order: FleetOrder, witness: Witness) -> None:
        """Start nothing yet."""
        self.witness = witness
        self.started: Counter[str] = Counter()
        self._order = order
        self._workers = {
            f"{kind}-{number}": kind for number, kind in enumerate(order.kinds, start=1)
        }
        self._children: dict[str, Child] = {}
        self._claims: Counter[str] = Counter()
        self._target = 0
        self._is_ending = False
        self._lock = threading.RLock()

    @property
    def workers(self) -> list[str]:
        """The names of the workers."""
        return list(self._workers)

    def __enter__(self) -> Self:
        """Give the fleet; when the block ends, no process of it is left."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill what still runs."""
        with self._lock:
            self._is_ending = True
            for name in list(self._children):
                self.kill(name)

    def start(self, name: str) -> None:
        """Start the process of a name, where none runs."""
        with self._lock:
            if name in self._children or self._is_ending:
                return
            self.started[name] += 1
            life = f"{name}.{self.started[name]}"
            draws = f"{self._order.seed}/{life}"
            if name == SUBMITTER:
                module, order = SUBMITTING, self._submit_order(draws)
            else:
                module, order = WORKING, self._work_order(name, draws)
            url = self._order.url
            child = Child(life, module, order, url, partial(self._hear, name))
            self._children[name] = child
            if name == SUBMITTER:
                child.send(self._target)

    def _work_order(self, name: str, draws: str) -> dict[str, Any]:
        order = self._order
        return asdict(
            WorkOrder(
                worker=name,
                kind=self._workers[name],
                durability=order.durability,
                lease_ttl_ms=order.lease_ttl_ms,
                work_ms=order.work_ms,
                failing=order.failing,
                draws=draws,
            )
        )

    def _submit_order(self, draws: str) -> dict[str, Any]:
        first = self.witness.created
        return asdict(SubmitOrder(first, self._order.durability, draws))

    def _hear(self, name: str, child: Child, told: Told) -> None:
        if told[:1] == ["claimed"]:
            self._claims[name] += 1
        self.witness.hear(child.name, told)

    def submit_up_to(self, number: int) -> None:
        """Have executions created up to that number."""
        with self._lock:
            self._target = number
            if SUBMITTER in self._children:
                self._children[SUBMITTER].send(number)

    def claims(self, name: str) -> int:
        """Return how many claims the processes of a name have told of."""
        return self._claims[name]

    def is_there(self, name: str) -> bool:
        """Say whether there is a process of that name."""
        with self._lock:
            return name in self._children

    def kill(self, name: str) -> str | None:
        """Kill the process of a name; return which one it was."""
        with self._lock:
            child = self._children.pop(name, None)
            if child is None:
                return None
            child.kill()
            return child.name

    def stop(self, name: str) -> None:
        """Let the process of a name stand still."""
        with self._lock:
            if name in self._children:
                self._children[name].stop()

    def resume(self, name: str) -> None:
        """Let it go on."""
        with self._lock:
            if name in self._children:
                self._children[name].resume()

    def look_after(self) -> None:
        """Find processes that ended by themselves, and start them anew."""
        with self._lock:
            for name, child in list(self._children.items()):
                if child.status() is not None:
                    self.kill(name)
                    self.witness.faults.add("broken", child.why())
                    self.start(name)

    def end(self) -> None:
        """Have all processes finish what they are at, and end."""
        with self._lock:
            self._is_ending = True
            for name, child in self._children.items():
                if name == SUBMITTER:
                    child.end_input()
                else:
                    child.ask_to_end()
            until_s = time.monotonic() + _ENDING_S
            for name, child in list(self._children.items()):
                status = child.wait(max(0.0, until_s - time.monotonic()))
                self.kill(name)
                if status is None:
                    text = f"{child.name} did not end when it was asked to"
                    self.witness.faults.add("broken", text)
                elif status not in _ENDED_WELL:
                    self.witness.faults.add("broken", child.why())
