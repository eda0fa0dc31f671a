"""The work of the demonstration: who does what, and what is meant to go wrong."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import leasehold

STORE_VARIABLE: Final = "LEASEHOLD_STORE"
"""The variable that tells a worker's process which ledger it works on."""

LEASE_TTL_MS: Final = 1500
RETRY_DELAY_MS: Final = 800
STEP_MS: Final = 150
LANES: Final = ("render", "billing")


@dataclass(frozen=True, slots=True)
class Work:
    """What the payload of an execution tells its worker.

    Attributes:
        name: For people.
        steps: How many steps of `STEP_MS` it takes.
        fails: How an attempt ends after its steps: not at all, `once` in a way that
            is worth trying again, or for `good`.
    """

    name: str
    steps: int
    fails: str = ""

    def encode(self) -> bytes:
        """Write it as a payload."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> "Work":
        """Read a payload."""
        return cls(**json.loads(payload))


@dataclass(frozen=True, slots=True)
class Job:
    """One execution of the demonstration."""

    lane: str
    priority: int
    work: Work
    capabilities: tuple[str, ...] = ()

    def arguments(self) -> Mapping[str, Any]:
        """Return what `create_executions` takes."""
        return {
            "lane_id": self.lane,
            "priority": self.priority,
            "payload": self.work.encode(),
            "capabilities": self.capabilities,
            "tags": {"name": self.work.name},
            "retry_policy": leasehold.RetryPolicy(
                max_retries=2, backoff=leasehold.Fixed(RETRY_DELAY_MS)
            ),
            "actor": "demo",
        }


TAKEN_OVER: Final = "film"
RETRIED: Final = "card-charge"
REJECTED: Final = "refund"

JOBS: Final = (
    Job("render", 90, Work(TAKEN_OVER, 10), ("gpu",)),
    Job("render", 40, Work("trailer", 4), ("gpu",)),
    Job("render", 30, Work("poster", 3)),
    Job("render", 20, Work("thumbnails", 3)),
    Job("render", 10, Work("credits", 3), ("fonts",)),
    Job("render", 0, Work("archive", 2)),
    Job("billing", 60, Work("invoices", 3)),
    Job("billing", 50, Work(RETRIED, 2, fails="once")),
    Job("billing", 40, Work("export", 3)),
    Job("billing", 30, Work(REJECTED, 1, fails="good")),
    Job("billing", 20, Work("statements", 3), ("pdf",)),
    Job("billing", 0, Work("reminders", 2)),
)

WORKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "amber": ("fonts", "gpu"),
    "birch": ("pdf",),
    "cedar": ("fonts", "gpu", "pdf"),
}
"""Who works, with which capabilities: each one is there twice, so one may die."""
