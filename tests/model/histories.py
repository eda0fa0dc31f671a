"""A random history, the same again from the same seed: every operation, all answers."""

from __future__ import annotations

import json
import random
import uuid
from typing import TYPE_CHECKING, Any

import leasehold
from leasehold import BestEffort, FailureClass, Frame, Summary
from leasehold.adapters.commands import Draws

if TYPE_CHECKING:
    from collections.abc import Callable

START_MS = 1_700_000_000_000
LANES = ("left", "left", "right")
TOKENS = ("eu", "gpu")
PLAIN = (None, 1, "x", "__ff_null__", "é", 2.5, True, [], {})
POLICIES = (
    leasehold.RetryPolicy(max_retries=2, backoff=leasehold.Fixed(0)),
    leasehold.RetryPolicy(
        max_retries=3,
        backoff=leasehold.Exponential(
            initial_ms=40, multiplier=3.0, max_ms=200, jitter=0.5
        ),
    ),
)
REASONED = {"actor": "opérateur", "reason": "for\ttwo reasons"}


def seeded_draws(seed: int) -> Draws:
    """Draw ids and jitter from a seed."""
    chance = random.Random(seed)

    def draw(version: int) -> Callable[[], uuid.UUID]:
        mask, mark = ~(0xF << 76 | 0x3 << 62), version << 76 | 0x2 << 62
        return lambda: uuid.UUID(int=chance.getrandbits(128) & mask | mark)

    return Draws(draw(7), draw(4), draw(4), lambda: chance.uniform(-1, 1))


class History:
    """Makes calls on a ledger, one after another, and keeps what they answered."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_ms = START_MS
        self.ids: list[uuid.UUID] = []
        self.specs: list[dict[str, Any]] = []
        self.handles: list[leasehold.Handle] = []
        self.grants: list[leasehold.ResumeGrant] = []
        self.answers: list[Any] = []
        self.ledger: leasehold.Ledger

    def clock(self) -> int:
        """Return the time of the history."""
        return self.now_ms

    def make(self, ledger: leasehold.Ledger, steps: int) -> None:
        """Make so many calls."""
        self.ledger = ledger
        calls = {
            self.create: 3,
            self.create_again: 1,
            self.create_many: 1,
            self.claim: 10,
            self.resume: 3,
            self.grant: 2,
            self.hold: 16,
            self.operate: 4,
            self.sweep: 1,
            self.pass_time: 4,
        }
        for call in self.chance.choices([*calls], [*calls.values()], k=steps):
            try:
                answer = call()
            except leasehold.LeaseholdError as refusal:
                answer = (refusal.code, str(refusal))
            self.answers.append((call.__name__, answer))

    def specification(self) -> dict[str, Any]:
        """Draw the arguments of a creation."""
        chance, times = self.chance, (*[None] * 6, -10, 60, 300)
        spec: dict[str, Any] = {
            "lane_id": chance.choice(LANES),
            "payload": chance.choice([b"", b"\x00\xff", b"work" * 50]),
            "capabilities": chance.choice([(), (), ("gpu",), TOKENS]),
            "priority": chance.choice([-1, 0, 0, 7]),
            "retry_policy": chance.choice(POLICIES),
            "max_reclaim_count": chance.choice([0, 1, 100]),
            "namespace": chance.choice(["default", "second"]),
            "tags": chance.choice([None, {"b": "é", "a": ""}]),
            "idempotency_key": chance.choice([*[None] * 6, "key-1", "ключ"]),
        }
        for name in ("delay_until_ms", "deadline_at_ms"):
            offset_ms = chance.choice(times)
            spec[name] = None if offset_ms is None else self.now_ms + offset_ms
        return spec

    def create(self) -> Any:
        spec = self.specification()
        self.ids.append(self.ledger.create_execution(**spec))
        self.specs.append({**spec, "execution_id": self.ids[-1]})
        return self.ids[-1]

    def create_again(self) -> Any:
        spec = self.chance.choice(self.specs or [self.specification()])
        return self.ledger.create_execution(**spec)

    def create_many(self) -> Any:
        specs = [self.specification() for _ in range(self.chance.randrange(4))]
        ids = self.ledger.create_executions(specs)
        self.ids += ids
        return ids

    def claim(self) -> Any:
        number = self.chance.randrange(3)
        instances = (None, f"~ {number}", f"{number}")
        return self.took(
            self.ledger.claim(
                self.chance.choice(LANES),
                capabilities=self.chance.choice([(), TOKENS, TOKENS, TOKENS]),
                worker_id=f"w-{number}",
                worker_instance_id=self.chance.choice(instances),
                lease_ttl_ms=self.chance.choice([50, 400, 2_000, 2_000]),
            )
        )

    def took(self, handle: leasehold.Handle | None) -> Any:
        """Keep a handle; return what it says on any store."""
        if handle is None:
            return None
        self.handles.append(handle)
        return handle.kind, handle.opaque

    def resume(self) -> Any:
        if not self.grants:
            return None
        grant = self.chance.choice(self.grants[-4:])
        worker_id = self.chance.choice([grant.worker_id, grant.worker_id, "w-0"])
        handle = self.ledger.claim_from_resume_grant(grant, worker_id=worker_id)
        return self.took(handle)

    def grant(self) -> Any:
        worker_id = f"w-{self.chance.randrange(3)}"
        grant = self.ledger.issue_resume_grant(self.an_id(), worker_id=worker_id)
        self.grants.append(grant)
        return str(grant)

    def hold(self) -> Any:
        """Do what the holder of a lease does."""
        if not self.handles:
            return None
        ledger, chance = self.ledger, self.chance
        handle = chance.choice(self.handles[-3:])
        calls = [
            lambda: ledger.renew(handle),
            lambda: ledger.progress(handle, chance.choice([None, 0, 99.5]), "half"),
            lambda: ledger.append_frame(handle, self.frame()),
            lambda: ledger.append_frame(handle, self.frame()),
            lambda: ledger.complete(handle, chance.choice([None, b"", b"\x00ok"])),
            lambda: ledger.fail(handle, "bröke", chance.choice([*FailureClass])),
        ]
        return chance.choice(calls)()

    def frame(self) -> Frame:
        """Draw a frame of any mode."""
        chance = self.chance
        document = {chance.choice("abc"): chance.choice(PLAIN) for _ in range(2)}
        nested = {chance.choice("abc"): document, chance.choice("de"): 1}
        return chance.choice(
            [
                Frame(b"line\x00", correlation_id="c-1"),
                Frame(json.dumps(nested).encode(), mode=Summary()),
                Frame(b"[]", mode=Summary()),
                Frame(b"live", mode=BestEffort(1_000, 1, 4, 0.5), frame_type="beat"),
            ]
        )

    def operate(self) -> Any:
        """Do what people do."""
        ledger, execution_id = self.ledger, self.an_id()
        calls = [
            lambda: ledger.cancel_execution(execution_id, **REASONED),
            lambda: ledger.revoke_lease(execution_id, **REASONED),
            lambda: ledger.replay_execution(execution_id, **REASONED),
            lambda: ledger.replay_execution(execution_id, **REASONED),
            lambda: ledger.change_priority(
                execution_id, self.chance.choice([-9_000, 0, 7]), actor="op"
            ),
        ]
        return self.chance.choice(calls)()

    def sweep(self) -> Any:
        # Fewer than are due would leave it to the store which of those due at once.
        return self.ledger.sweep()

    def pass_time(self) -> Any:
        self.now_ms += self.chance.choice([-40, 1, 10, 50, 100, 400])

    def an_id(self) -> uuid.UUID:
        """Choose an execution, now and then one that is not there."""
        running = [handle.execution_id for handle in self.handles[-3:]]
        return self.chance.choice([*self.ids[-8:], *running * 3, uuid.UUID(int=1)])
