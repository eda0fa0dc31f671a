"""A long job that streams what it makes, is killed, and goes on where it stopped.

    python long_job.py [STORE]

It renders pictures, each from the one before, and appends each to the attempt as a
frame. The first worker is a process that dies by SIGKILL in the middle. A second one is
started: it takes over under the next epoch as soon as the lease has run out, reads the
last frame of its predecessor, and goes on from there.

On the same store it is the same job: what is done is shown, and not done again.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final
from uuid import UUID

import leasehold

STORE: Final = "sqlite:///long_job.db"
STORE_VARIABLE: Final = "LONG_JOB_STORE"
LANE: Final = "pictures"
LEASE_TTL_MS: Final = 900
PICTURES: Final = 20
DIES_AFTER: Final = 8
PICTURE_S: Final = 0.03
BLOCK_MS: Final = 100


def render(picture: str) -> str:
    """Make the next picture out of one; in place of the work, a digest."""
    return hashlib.sha256(picture.encode()).hexdigest()


def all_frames(
    ledger: leasehold.Ledger, execution_id: UUID, attempt_index: int
) -> Iterator[leasehold.FrameRow]:
    """Read the frames of an attempt, however many there are."""
    after = None
    while page := ledger.read.frames(execution_id, attempt_index, after):
        yield from page
        after = page[-1].stream_id


def last_picture(
    ledger: leasehold.Ledger, execution_id: UUID, before_attempt: int
) -> tuple[int, str]:
    """Return the last picture that an earlier attempt appended, and its number."""
    for index in reversed(range(before_attempt)):
        for frame in deque(all_frames(ledger, execution_id, index), maxlen=1):
            made = json.loads(frame.payload)
            return made["number"], made["picture"]
    return 0, ""


def work(
    ledger: leasehold.Ledger, dies_after: int | None, context: leasehold.WorkContext
) -> bytes:
    """Render what is missing; return the last picture.

    A picture whose answer was lost may be there twice, with the same number.
    """
    pictures = json.loads(context.payload)["pictures"]
    number, picture = last_picture(
        ledger, context.execution_id, before_attempt=context.attempt_index
    )
    context.progress(100 * number / pictures, f"from picture {number}")
    while number < pictures:
        context.lost.wait(PICTURE_S)
        number, picture = number + 1, render(picture)
        made = json.dumps({"number": number, "picture": picture}).encode()
        # Raises if the lease is lost; and the lease is renewed because of it.
        context.append_frame(leasehold.Frame(made, leasehold.FrameKind.EVENT))
        if number == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
    context.progress(100)
    return picture.encode()


def serve(url: str, worker_id: str, dies_after: int | None) -> None:
    """Be a worker until SIGTERM. One that hangs loses its lease, as if it had died."""
    with leasehold.open(url) as ledger:
        leasehold.Worker(
            ledger,
            partial(work, ledger, dies_after),
            lanes=[LANE],
            worker_id=worker_id,
            lease_ttl_ms=LEASE_TTL_MS,
            renew_on=leasehold.RenewOn.PROGRESS,
        ).run(handle_signals=True)


@contextmanager
def started(
    url: str, worker_id: str, *options: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Have a worker run as a process during the block."""
    # Anybody can read the arguments of a process, and the URL may hold a password.
    process = subprocess.Popen(  # noqa: S603 - this interpreter, this program
        [sys.executable, __file__, "--worker", worker_id, *options],
        env={**os.environ, STORE_VARIABLE: url},
    )
    try:
        yield process
    finally:
        process.terminate()
        status = process.wait()
        if status < 0:
            print(f"{worker_id} has died of {signal.Signals(-status).name}")


class Watcher:
    """Follows a job, whoever works on it, and prints each picture."""

    def __init__(self, ledger: leasehold.Ledger, execution_id: UUID) -> None:
        """Begin with the first attempt."""
        self._ledger = ledger
        self._execution_id = execution_id
        self._attempt_index = 0
        self._after: str | None = None

    def watch(self, worker: "subprocess.Popen[bytes]") -> bool:
        """Print pictures until a worker dies or the job has ended; say whether it has.

        The job is looked at before its frames: what it says was true of them all.
        """
        while True:
            is_dead = worker.poll() is not None
            row = self._ledger.read.execution(self._execution_id)
            frames = self._ledger.read.tail_frames(
                self._execution_id, self._attempt_index, self._after, BLOCK_MS
            )
            for frame in frames:
                made = json.loads(frame.payload)
                print(
                    f"  attempt {frame.attempt_index}, picture {made['number']:2}: "
                    f"{made['picture'][:8]}"
                )
                self._after = frame.stream_id
            if frames or row is None:
                continue
            if row.attempt_index > self._attempt_index:
                self._attempt_index, self._after = self._attempt_index + 1, None
            elif is_dead or row.terminal_at_ms is not None:
                return row.terminal_at_ms is not None


def show(ledger: leasehold.Ledger, execution_id: UUID) -> None:
    """Print who held the job, and what happened to it."""
    history = ledger.read.history(execution_id)
    created_at_ms = history[0].recorded_at_ms
    for tenure in ledger.read.tenures(execution_id):
        print(
            f"epoch {tenure.lease_epoch}, attempt {tenure.attempt_index}: "
            f"{tenure.worker_id} by {tenure.acquired_by} "
            f"at {tenure.acquired_at_ms - created_at_ms} ms, "
            f"renewals {tenure.renewals}, {tenure.ended_by}"
        )
        if tenure.orphaned_ms is not None:
            print(f"  nobody's for {tenure.orphaned_ms} ms")
    for recorded in history:
        if recorded.topic not in ("frame.appended", "attempt.lease_renewed"):
            at_ms = recorded.recorded_at_ms - created_at_ms
            print(f"  {at_ms:5} ms  {recorded.topic}")


def result_wanted() -> bytes:
    """Compute the last picture without stopping."""
    picture = ""
    for _ in range(PICTURES):
        picture = render(picture)
    return picture.encode()


def main(url: str) -> bool:
    """Have the job done by one worker after the other; say whether all is right."""
    workers = {"amber": ("--dies-after", str(DIES_AFTER)), "birch": ()}
    with leasehold.open(url) as ledger:
        job = ledger.create_execution(
            lane_id=LANE,
            payload=json.dumps({"pictures": PICTURES}).encode(),
            idempotency_key=LANE,
        )
        watcher = Watcher(ledger, job)
        for worker_id, options in workers.items():
            with started(url, worker_id, *options) as process:
                has_ended = watcher.watch(process)
            if has_ended:
                break
        show(ledger, job)
        row = ledger.read.execution(job)
        is_right = row is not None and row.result == result_wanted()
        report = ledger.audit()
    print("the last picture:", "right" if is_right else "wrong")
    for finding in report.findings:
        print(f"{finding.severity}: {finding.text}")
    print("audit:", "ok" if report.ok else "not ok")
    return is_right and report.ok


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("store", nargs="?", default=STORE)
    parser.add_argument("--worker", metavar="NAME")
    parser.add_argument("--dies-after", type=int, metavar="PICTURE")
    given = parser.parse_args()
    if given.worker:
        serve(os.environ[STORE_VARIABLE], given.worker, given.dies_after)
    else:
        sys.exit(0 if main(given.store) else 1)
