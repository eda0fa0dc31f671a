"""Threads that call every operation on the same few executions, at the same time.

`crowding_process.py URL NUMBER THREADS SECONDS`. Prints what the calls answered and how
often each was refused, as one line of JSON. Whatever is no refusal ends the process.
"""

from __future__ import annotations

import json
import random
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from processes import begin_together

import leasehold
from leasehold import BestEffort, FailureClass, Frame, Summary

LANES = ("left", "right")
TOKENS = ("eu", "gpu")
CAPABILITIES = ((), (), (), ("gpu",), TOKENS)
PRIORITIES = (-1, 0, 0, 7)
IDS = [uuid.UUID(int=0xC0DE + number, version=4) for number in range(24)]
KEYS = [f"key-{number}" for number in range(24)]
TTLS_MS = (20, 200, 1_000, 1_000)
DELAYS_MS = (None, None, None, 20, 150)
DRAWN_MAX = 6
HELD_MAX = 6
ACTOR = {"actor": "op"}
REASONED = {"actor": "op", "reason": "why not"}
RETRY = leasehold.RetryPolicy(max_retries=2, backoff=leasehold.Fixed(30))
REFUSALS = (
    leasehold.ConflictError,
    leasehold.ContentionError,
    leasehold.IllegalTransitionError,
    leasehold.NotFoundError,
)
# How often each operation is called.
WEIGHTS = {
    "create": 1,
    "create_many": 2,
    "create_named": 3,
    "claim": 12,
    "renew": 6,
    "progress": 4,
    "append_frame": 6,
    "complete": 4,
    "fail": 5,
    "issue_resume_grant": 4,
    "claim_from_resume_grant": 5,
    "revoke_lease": 4,
    "cancel_execution": 1,
    "change_priority": 2,
    "replay_execution": 7,
    "sweep": 1,
    "read": 3,
}
NEED_A_HANDLE = {"renew", "progress", "append_frame", "complete", "fail"}


def lease_of(handle: leasehold.Handle) -> list[Any]:
    """Name the tenure of a handle."""
    return [str(handle.execution_id), handle.lease_epoch]


class Shared:
    """What the threads of a process have together."""

    def __init__(self, ledger: leasehold.Ledger) -> None:
        self.ledger = ledger
        self.known: list[uuid.UUID] = list(IDS)
        self.handles: list[leasehold.Handle] = []
        self.grants: list[leasehold.ResumeGrant] = []


class Caller:
    """One thread: calls, and notes what was answered."""

    def __init__(self, shared: Shared, number: int) -> None:
        self.ledger = shared.ledger
        self.shared = shared
        self.chance = random.Random(number)
        self.worker_id = f"w-{number % 2}"
        self.worker = {"worker_id": self.worker_id, "worker_instance_id": f"{number}"}
        self.drawn = 0
        self.refused: Counter[str] = Counter()
        self.answered: dict[str, list[Any]] = {}

    def run(self, until_s: float) -> None:
        """Call until a time of the monotonic clock."""
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        while time.monotonic() < until_s:
            (name,) = self.chance.choices(names, weights)
            if name in NEED_A_HANDLE and not self.shared.handles:
                name = "claim"
            try:
                getattr(self, name)()
            except REFUSALS as refusal:
                self.refused[f"{name}: {refusal.code}"] += 1

    def note(self, name: str, answer: Any) -> None:
        """Keep what a call answered."""
        self.answered.setdefault(name, []).append(answer)

    def any_id(self) -> uuid.UUID:
        """Choose an execution, which may not be there yet."""
        return self.chance.choice(self.shared.known)

    def any_handle(self) -> leasehold.Handle:
        """Choose a handle, more often than not one of the last."""
        handles = self.shared.handles
        few = self.chance.random() < 0.9
        return self.chance.choice(handles[-HELD_MAX:] if few else handles[-60:])

    def specification(self) -> dict[str, Any]:
        """Draw arguments; most that come under one name are equal."""
        delay_ms, now_ms = self.chance.choice(DELAYS_MS), time.time_ns() // 1_000_000
        return {
            "lane_id": self.chance.choice(LANES),
            "capabilities": self.chance.choice(CAPABILITIES),
            "retry_policy": RETRY,
            "max_reclaim_count": self.chance.choice([1, 100, 100]),
            "delay_until_ms": delay_ms and now_ms + delay_ms,
            "deadline_at_ms": self.chance.choice([None] * 9 + [now_ms + 300]),
            "payload": b"x" * self.chance.choice([0, 10, 3_000]),
        }

    def named(self) -> dict[str, Any]:
        """Draw arguments under an id or a key that others use too."""
        place = self.chance.randrange(len(IDS))
        spec: dict[str, Any] = {
            "lane_id": LANES[place % 2],
            "capabilities": CAPABILITIES[place % len(CAPABILITIES)],
            "retry_policy": RETRY,
            "priority": self.chance.choice([0] * 9 + [1]),
        }
        how = self.chance.randrange(5)
        if how < 3:
            spec["execution_id"] = IDS[place]
        if how == 2 or how > 2:
            spec["idempotency_key"] = KEYS[place if how > 2 else place - 1]
        return spec

    def created(self, spec: dict[str, Any], execution_id: uuid.UUID) -> None:
        """Note under what names an execution was answered."""
        named = spec.get("execution_id")
        assert named in (None, execution_id)
        self.note("created", [str(execution_id), spec.get("idempotency_key")])
        if execution_id not in self.shared.known:
            self.shared.known.append(execution_id)

    def create(self) -> None:
        self.drawn += 1
        if self.drawn <= DRAWN_MAX:
            spec = self.specification()
            self.created(spec, self.ledger.create_execution(**spec))

    def create_named(self) -> None:
        spec = self.named()
        self.created(spec, self.ledger.create_execution(**spec))

    def create_many(self) -> None:
        # Each holds some names; another process has the same ones in another order.
        specs = [self.named() for _ in range(self.chance.randint(2, 5))]
        for spec, execution_id in zip(
            specs, self.ledger.create_executions(specs), strict=True
        ):
            self.created(spec, execution_id)

    def claim(self) -> None:
        self.took(
            self.ledger.claim(
                self.chance.choice(LANES),
                capabilities=self.chance.choice([(), TOKENS, TOKENS]),
                lease_ttl_ms=self.chance.choice(TTLS_MS),
                **self.worker,
            )
        )

    def took(self, handle: leasehold.Handle | None) -> None:
        """Keep a handle for all threads."""
        if handle is not None:
            self.note("acquired", lease_of(handle))
            self.shared.handles.append(handle)

    def renew(self) -> None:
        handle = self.any_handle()
        self.ledger.renew(handle)
        self.note("renewed", lease_of(handle))

    def progress(self) -> None:
        handle = self.any_handle()
        self.ledger.progress(handle, self.chance.randint(0, 100), "going")
        self.note("progressed", lease_of(handle))

    def append_frame(self) -> None:
        handle = self.any_handle()
        patch = json.dumps({self.chance.choice("abc"): self.drawn}).encode()
        frame = self.chance.choice(
            [
                Frame(b"line"),
                Frame(patch, mode=Summary()),
                Frame(b"live", mode=BestEffort(1_000, 1, 4)),
            ]
        )
        appended = self.ledger.append_frame(handle, frame)
        kept = not isinstance(frame.mode, BestEffort)
        self.note(
            "framed" if kept else "live",
            [*lease_of(handle), handle.attempt_index, appended.stream_id],
        )

    def complete(self) -> None:
        handle = self.any_handle()
        self.ledger.complete(handle, b"done")
        self.note("completed", lease_of(handle))

    def fail(self) -> None:
        handle = self.any_handle()
        name = self.chance.choice(["TRANSIENT"] * 4 + ["INFRA_CRASH", "PERMANENT"])
        self.ledger.fail(handle, "broke", FailureClass[name])
        self.note("failed", lease_of(handle))

    def issue_resume_grant(self) -> None:
        running = self.shared.handles[-HELD_MAX:]
        ids = [handle.execution_id for handle in running] or [self.any_id()]
        grant = self.ledger.issue_resume_grant(
            self.chance.choice(ids), worker_id=self.worker_id, ttl_ms=800
        )
        self.note("granted", str(grant.execution_id))
        self.shared.grants.append(grant)

    def claim_from_resume_grant(self) -> None:
        mine = [
            grant
            for grant in self.shared.grants[-8:]
            if grant.worker_id == self.worker_id
        ]
        if mine:
            handle = self.ledger.claim_from_resume_grant(
                self.chance.choice(mine),
                lease_ttl_ms=self.chance.choice(TTLS_MS),
                **self.worker,
            )
            self.took(handle)
            if handle is not None:
                self.note("resumed", lease_of(handle))

    def revoke_lease(self) -> None:
        running = self.shared.handles[-HELD_MAX:]
        ids = [handle.execution_id for handle in running] or [self.any_id()]
        execution_id = self.chance.choice(ids)
        self.ledger.revoke_lease(execution_id, **REASONED)
        self.note("revoked", str(execution_id))

    def cancel_execution(self) -> None:
        execution_id = self.any_id()
        self.ledger.cancel_execution(execution_id, **REASONED)
        self.note("cancelled", str(execution_id))

    def change_priority(self) -> None:
        execution_id, priority = self.any_id(), self.chance.choice(PRIORITIES)
        self.ledger.change_priority(execution_id, priority, **ACTOR)
        self.note("reprioritised", str(execution_id))

    def replay_execution(self) -> None:
        execution_id = self.any_id()
        self.ledger.replay_execution(execution_id, **REASONED)
        self.note("replayed", str(execution_id))

    def sweep(self) -> None:
        report = self.ledger.sweep(self.chance.choice([3, 1_000]))
        self.note("leases_expired", report.leases_expired)
        self.note("delays_due", report.delays_due)
        self.note("deadlines_passed", report.deadlines_passed)

    def read(self) -> None:
        """Read everything that can be read, of one execution and of all."""
        read, execution_id = self.ledger.read, self.any_id()
        read.executions(self.chance.choice([None, *LANES]), limit=20)
        read.lease_events(execution_id=execution_id)
        read.lease_events(worker_id=self.worker_id, limit=20)
        read.expired_leases(20)
        assert set(read.lanes()) <= set(LANES)
        read.counts()
        read.counts(LANES[0])
        history = read.history(execution_id)
        versions: Counter[str] = Counter()
        for event in history:
            versions[event.stream_id] += 1
            assert event.version == versions[event.stream_id]
        for attempt in read.attempts(execution_id)[-1:]:
            index = attempt.attempt_index
            assert read.attempt(execution_id, index) is not None
            read.summary(execution_id, index)
            read.frames(execution_id, index)
            read.tail_frames(execution_id, index, None, 0)
        assert (read.execution(execution_id) is not None) or not history
        self.note("read", len(history))


def main() -> None:
    """Open the store, call in each thread, print."""
    url, number, threads, seconds = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
    with leasehold.open(url, durability="normal") as ledger:
        shared = Shared(ledger)
        callers = [Caller(shared, number * threads + it) for it in range(threads)]
        begin_together()
        until_s = time.monotonic() + float(seconds)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda caller: caller.run(until_s), callers))
    refused: Counter[str] = Counter()
    answered: dict[str, list[Any]] = {}
    for caller in callers:
        refused.update(caller.refused)
        for name, answers in caller.answered.items():
            answered.setdefault(name, []).extend(answers)
    print(json.dumps({"refused": refused, "answered": answered}))


if __name__ == "__main__":
    main()
