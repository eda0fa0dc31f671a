"""A submitter like cron: each slot of a schedule is submitted exactly once.

    python cron_submitter.py [STORE]

Several submitters run, so that one may fail; none of them knows of the others. Each
submits every slot. The key of a submission is the name of the schedule with the time of
the slot, so that the first one counts, and the others are given the same execution.
A submitter that starts looks back for a while: slots that nobody was there for are
submitted late. The slots are a quarter of a second here, in place of an hour.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import leasehold

STORE: Final = "sqlite:///cron_submitter.db"
LANE: Final = "rollups"
SUBMITTERS: Final = 3
SLOTS_MISSED: Final = 3
SLOTS_TO_COME: Final = 4
AGAIN_S: Final = 1.0


def now_ms() -> int:
    """Return the time of the host in ms since the Unix epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """Something that is to be done at each multiple of an interval."""

    name: str
    every_ms: int

    def slot_after(self, at_ms: int) -> int:
        """Return the first slot that is later than a time."""
        return (at_ms // self.every_ms + 1) * self.every_ms


def shown(slot_ms: int) -> str:
    """Write a slot as people and keys do."""
    at = datetime.fromtimestamp(slot_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def submit(ledger: leasehold.Ledger, schedule: Schedule, slot_ms: int) -> UUID:
    """Submit a slot; again, also elsewhere, it gives the same execution.

    All that is submitted follows from the slot. Nothing may depend on who submits it or
    when, or the second one would be refused.

    Raises:
        ConflictError: Somebody submitted this slot with another payload.
    """
    slot = shown(slot_ms)
    return ledger.create_execution(
        lane_id=LANE,
        payload=slot.encode(),
        idempotency_key=f"{schedule.name}@{slot}",
        namespace="cron",
        tags={"schedule": schedule.name, "slot_ms": str(slot_ms)},
        actor="cron",
    )


def keep_submitting(
    url: str, schedule: Schedule, since_ms: int, until_ms: int
) -> list[UUID]:
    """Submit the slots after one time up to another, each as it comes.

    Args:
        url: Of the ledger: this submitter's own connection.
        schedule: What to submit.
        since_ms: How far to look back for slots that nobody submitted.
        until_ms: When to stop; a submitter in earnest has no such time.
    """
    submitted: list[UUID] = []
    slot_ms = schedule.slot_after(since_ms)
    with leasehold.open(url) as ledger:
        while slot_ms <= until_ms:
            wait_ms = slot_ms - now_ms()
            if wait_ms > 0:
                time.sleep(wait_ms / 1000)
                continue
            try:
                submitted.append(submit(ledger, schedule, slot_ms))
            except leasehold.ConflictError as error:
                print(f"{schedule.name} is submitted by somebody otherwise: {error}")
            except leasehold.StoreError as error:
                print(f"{schedule.name} waits for the store: {error}")
                time.sleep(AGAIN_S)
                continue
            slot_ms = schedule.slot_after(slot_ms)
    return submitted


def roll_up(context: leasehold.WorkContext) -> bytes:
    """Do the work of a slot: for the slot's time, not for the time of now."""
    return b"rolled up to " + context.payload


def wait_until_done(ledger: leasehold.Ledger, execution_ids: Iterable[UUID]) -> None:
    """Wait until these executions have been completed."""
    left = set(execution_ids)
    with ledger.subscribe(after=0, topics=["execution.completed"]) as completed:
        for recorded in completed:
            left.discard(recorded.event.execution_id)
            if not left:
                return


def run(url: str, ledger: leasehold.Ledger, schedule: Schedule) -> set[UUID]:
    """Let submitters race for some slots, and a worker do them; return those."""
    started_ms = now_ms()
    since_ms = started_ms - SLOTS_MISSED * schedule.every_ms
    until_ms = started_ms + SLOTS_TO_COME * schedule.every_ms
    worker = leasehold.Worker(ledger, roll_up, lanes=[LANE], worker_id="worker")
    working = threading.Thread(target=worker.run)
    working.start()
    try:
        # In earnest each of them is a process on a host of its own.
        with ThreadPoolExecutor(SUBMITTERS) as threads:
            racing = [
                threads.submit(keep_submitting, url, schedule, since_ms, until_ms)
                for _ in range(SUBMITTERS)
            ]
        submitted = [it for racer in racing for it in racer.result()]
        wait_until_done(ledger, submitted)
    finally:
        worker.stop()
        working.join()
    once = set(submitted)
    print(f"{SUBMITTERS} submitters: {len(submitted)} calls, {len(once)} executions")
    return once


def all_rows(ledger: leasehold.Ledger) -> Iterator[leasehold.ExecutionRow]:
    """Read the executions of the lane, however many there are."""
    after = None
    while page := ledger.read.executions(LANE, after=after):
        yield from page
        after = page[-1].execution_id


def show(ledger: leasehold.Ledger, schedule: Schedule, ours: set[UUID]) -> bool:
    """Print the slots of this run; say whether each is there, once, and done."""
    slots = {int(row.tags["slot_ms"]): row for row in all_rows(ledger)}
    times = Counter(row.tags["slot_ms"] for row in all_rows(ledger))
    first, *_, last = sorted(
        at for at, row in slots.items() if row.execution_id in ours
    )
    is_right = max(times.values()) == 1
    for slot_ms in range(first, last + 1, schedule.every_ms):
        row = slots.get(slot_ms)
        if row is None:
            print(f"  {shown(slot_ms)} is missing")
            is_right = False
            continue
        late_ms = row.created_at_ms - slot_ms
        print(f"  {shown(slot_ms)} submitted after {late_ms:3} ms, {row.public_state}")
        is_right = is_right and row.public_state is leasehold.PublicState.COMPLETED
    return is_right


def main(url: str) -> bool:
    """Run it for a while; say whether all is as it should be."""
    schedule = Schedule("rollup", every_ms=250)
    with leasehold.open(url) as ledger:
        is_right = show(ledger, schedule, run(url, ledger, schedule))
        report = ledger.audit()
    print("each slot once:", "yes" if is_right else "no")
    for finding in report.findings:
        print(f"{finding.severity}: {finding.text}")
    print("audit:", "ok" if report.ok else "not ok")
    return is_right and report.ok


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1] if sys.argv[1:] else STORE) else 1)
