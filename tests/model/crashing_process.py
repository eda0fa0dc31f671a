"""Children that do everything a ledger offers until they are killed in the middle.

It reads lines of JSON from its input: `path`, `seed`, `durability`, `lines`. For each
it forks a child, waits until the child has told that many lines and a random moment
more, kills it with SIGKILL, and prints as one line everything that the child had told:
before each call what events it would make, after it what it answered.
The library is imported once, before the forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import leasehold
from leasehold import BestEffort, FailureClass, Frame, Summary

START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
TTL_MS = 1_000
MOMENT_S = 0.003
OPENING_S = 0.02
TAKE_OVER = ["attempt.interrupted", "execution.claimed", "attempt.started"]
RETRY = leasehold.RetryPolicy(max_retries=9, backoff=leasehold.Fixed(0))


class Child:
    """Runs a random story on one execution after another, in a lane of its own."""

    def __init__(self, order: dict[str, Any], pipe: int) -> None:
        self.chance = random.Random(order["seed"])
        self.pipe = pipe
        self.lane_id = f"lane-{order['seed']}"
        self.now_ms = START_MS + order["seed"] * DAY_MS
        self.ledger = leasehold.open(
            f"sqlite:///{order['path']}",
            clock=lambda: self.now_ms,
            durability=order["durability"],
        )
        self.execution_id = self.draw_id()
        self.handle: Any = None

    def tell(self, **facts: Any) -> None:
        """Write a line that outlives this process."""
        os.write(self.pipe, json.dumps(facts).encode() + b"\n")

    def draw_id(self) -> UUID:
        """Draw an id from this child's own chance."""
        return UUID(int=self.chance.getrandbits(128), version=4)

    def call(
        self, topics: list[str], operation: Callable[..., Any], *args: Any, **kw: Any
    ) -> Any:
        """Tell what is coming, make the call, tell that it returned."""
        return self.call_on([self.execution_id], topics, operation, *args, **kw)

    def call_on(
        self,
        execution_ids: list[UUID],
        topics: list[str],
        operation: Callable[..., Any],
        *args: Any,
        **kw: Any,
    ) -> Any:
        """Do so for a call that makes the same events in several executions."""
        self.now_ms += 1
        self.tell(coming={str(it): topics for it in execution_ids})
        answer = operation(*args, **kw)
        facts: dict[str, Any] = {}
        if isinstance(answer, leasehold.AppendFrameOutcome):
            place = [str(self.execution_id), self.handle.attempt_index]
            facts["frame"] = [*place, answer.stream_id]
        elif isinstance(answer, leasehold.LeaseRenewal):
            facts["expires"] = [str(self.execution_id), answer.expires_at_ms]
        self.tell(returned=True, **facts)
        return answer

    def run(self) -> None:
        """Tell stories until killed."""
        self.tell(opened=True)
        stories = [
            self.finish,
            self.report,
            self.retry,
            self.lose_the_lease,
            self.resume,
            self.cancel,
            self.many,
        ]
        while True:
            self.execution_id = self.draw_id()
            self.create()
            self.chance.choice(stories)()

    def create(self) -> None:
        """Create the execution of the next story."""
        self.call(
            ["execution.created"],
            self.ledger.create_execution,
            lane_id=self.lane_id,
            execution_id=self.execution_id,
            idempotency_key=str(self.execution_id),
            payload=str(self.execution_id).encode() * 50,
            retry_policy=RETRY,
            tags={"story": "told"},
        )

    def claim(self, topics: list[str] | None = None) -> None:
        """Claim the one execution of the lane."""
        self.handle = self.call(
            topics or ["execution.claimed", "attempt.started"],
            self.ledger.claim,
            self.lane_id,
            worker_id="worker",
            lease_ttl_ms=TTL_MS,
        )
        assert self.handle.execution_id == self.execution_id

    def complete(self) -> None:
        """End the execution well."""
        topics = ["attempt.succeeded", "execution.completed"]
        self.call(topics, self.ledger.complete, self.handle, b"result" * 40)

    def finish(self) -> None:
        """Claim, complete, replay, complete again."""
        self.claim()
        self.complete()
        self.call(
            ["execution.replayed"],
            self.ledger.replay_execution,
            self.execution_id,
            actor="op",
            reason="again",
        )
        self.claim()
        self.complete()

    def report(self) -> None:
        """Renew, report, append frames of each mode."""
        self.claim()
        self.call(["attempt.lease_renewed"], self.ledger.renew, self.handle)
        self.call(
            ["attempt.progressed"], self.ledger.progress, self.handle, 40, "going"
        )
        appended = ["frame.appended"]
        for frame, topics in (
            (Frame(b"line"), appended),
            (Frame(b'{"a":1}', mode=Summary()), appended),
            (Frame(b"live", mode=BestEffort()), []),
            (Frame(b'{"a":null,"b":[2]}', mode=Summary()), appended),
        ):
            self.call(topics, self.ledger.append_frame, self.handle, frame)
        self.complete()

    def retry(self) -> None:
        """Fail for now, change the order, fail for good."""
        self.claim()
        self.call(
            ["attempt.failed", "execution.retry_scheduled"],
            self.ledger.fail,
            self.handle,
            "broke",
            FailureClass.TRANSIENT,
        )
        self.call(
            ["execution.reprioritised"],
            self.ledger.change_priority,
            self.execution_id,
            self.chance.randint(1, 9),
            actor="op",
        )
        self.claim()
        self.call(
            ["attempt.failed", "execution.failed"],
            self.ledger.fail,
            self.handle,
            "hopeless",
            FailureClass.PERMANENT,
        )

    def lose_the_lease(self) -> None:
        """Let the lease run out, be refused, take over from oneself."""
        self.claim()
        lost, self.now_ms = self.handle, self.now_ms + 2 * TTL_MS
        self.call(["refusal.recorded"], self.refused, lost)
        if self.chance.random() < 0.5:
            self.call(["attempt.lease_expired"], self.ledger.sweep)
            self.claim(TAKE_OVER)
        else:
            self.claim(["attempt.lease_expired", *TAKE_OVER])
        self.complete()

    def refused(self, handle: leasehold.Handle) -> None:
        """Use a handle whose lease has run out."""
        try:
            self.ledger.renew(handle)
        except leasehold.LeaseExpiredError:
            return
        raise AssertionError("a lease that has run out was renewed")

    def resume(self) -> None:
        """Revoke the lease and go on under a grant."""
        self.claim()
        grant = self.call(
            ["execution.resume_grant_issued"],
            self.ledger.issue_resume_grant,
            self.execution_id,
            worker_id="worker",
        )
        self.call(
            ["attempt.lease_revoked"],
            self.ledger.revoke_lease,
            self.execution_id,
            actor="op",
            reason="stuck",
        )
        self.handle = self.call(
            ["attempt.lease_reclaimed"],
            self.ledger.claim_from_resume_grant,
            grant,
            worker_id="worker",
        )
        self.complete()

    def cancel(self) -> None:
        """Cancel, waiting or running."""
        topics = ["execution.cancelled"]
        if self.chance.random() < 0.5:
            self.claim()
            topics = ["attempt.cancelled", *topics]
        self.call(
            topics,
            self.ledger.cancel_execution,
            self.execution_id,
            actor="op",
            reason="unwanted",
        )

    def many(self) -> None:
        """Create several at once, in a lane where nobody claims."""
        self.claim()
        self.complete()
        ids = [self.draw_id() for _ in range(5)]
        specs = [
            {
                "execution_id": it,
                "lane_id": "unserved",
                "payload": str(it).encode() * 50,
            }
            for it in ids
        ]
        created = ["execution.created"]
        self.call_on(ids, created, self.ledger.create_executions, specs)


def run_child(order: dict[str, Any], pipe: int) -> None:
    """Be the child: work until killed; an error is told and ends it."""
    child = None
    try:
        child = Child(order, pipe)
        child.run()
    except BaseException as error:  # noqa: BLE001 - the parent must learn of all
        os.write(pipe, json.dumps({"broke": repr(error)}).encode() + b"\n")
    finally:
        os._exit(1)


def run_and_kill(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Fork a child, kill it at a random moment, return what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        run_child(order, writing)
    os.close(writing)
    chance = random.Random(-order["seed"])
    lines = 0
    with os.fdopen(reading, "rb") as told:
        text = b""
        while lines < order["lines"]:
            more = os.read(reading, 65536)
            if not more:
                break
            text += more
            lines = text.count(b"\n")
        wait_s = chance.random() * (MOMENT_S if order["lines"] else OPENING_S)
        until_s = time.perf_counter() + wait_s
        while time.perf_counter() < until_s:
            pass
        os.kill(child, signal.SIGKILL)
        text += told.read()
    os.waitpid(child, 0)
    return [json.loads(line) for line in text.splitlines()]


def main() -> None:
    """Serve orders until the input ends."""
    leasehold.open("sqlite://").close()
    for line in sys.stdin:
        print(json.dumps(run_and_kill(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
