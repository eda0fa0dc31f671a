"""Work as one of the demonstration's processes: claim, report, renew, end.

It tells its parent what it does, one JSON document a line on standard output. The
parent may kill it at any time: that is what the demonstration is about.
"""

import json
import os
import sys
import time
from typing import Final

import leasehold
from leasehold.adapters.command_line import demo_jobs

_IDLE_S: Final = 0.05
_LIFETIME_S: Final = 30
_RENEW_EVERY_MS: Final = demo_jobs.LEASE_TTL_MS // 3
_ENDED: Final = frozenset(
    {
        leasehold.PublicState.COMPLETED,
        leasehold.PublicState.FAILED,
        leasehold.PublicState.CANCELLED,
        leasehold.PublicState.EXPIRED,
    }
)


class Worker:
    """One worker with its ledger."""

    def __init__(
        self, ledger: leasehold.Ledger, worker_id: str, capabilities: tuple[str, ...]
    ) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._capabilities = capabilities
        # A parent that died cannot stop its workers: they stop by themselves.
        self._stop_at = time.monotonic() + _LIFETIME_S

    def run(self) -> None:
        """Work until everything in the ledger has ended."""
        self._tell("started", pid=os.getpid())
        while time.monotonic() < self._stop_at:
            handle = self._claim()
            if handle is not None:
                try:
                    self._work(handle)
                except leasehold.ContentionError as error:
                    self._tell("stopped", handle, why=error.code)
            elif self._is_all_done():
                return
            else:
                time.sleep(_IDLE_S)

    def _claim(self) -> leasehold.Handle | None:
        for lane in demo_jobs.LANES:
            handle = self._ledger.claim(
                lane,
                capabilities=self._capabilities,
                worker_id=self._worker_id,
                worker_instance_id=f"pid-{os.getpid()}",
                lease_ttl_ms=demo_jobs.LEASE_TTL_MS,
            )
            if handle is not None:
                return handle
        return None

    def _is_all_done(self) -> bool:
        counts = self._ledger.read.counts()
        return not any(count for state, count in counts.items() if state not in _ENDED)

    def _work(self, handle: leasehold.Handle) -> None:
        row = self._ledger.read.execution(handle.execution_id)
        if row is None:
            return
        work = demo_jobs.Work.decode(row.payload)
        done = self._steps_done_before(handle)
        self._tell("claimed", handle, token=str(handle), kind=handle.kind, done=done)
        renewed_at = time.monotonic()
        for step in range(done, work.steps):
            time.sleep(demo_jobs.STEP_MS / 1000)
            self._report(handle, work, step + 1)
            if (time.monotonic() - renewed_at) * 1000 >= _RENEW_EVERY_MS:
                self._ledger.renew(handle)
                renewed_at = time.monotonic()
                self._tell("renewed", handle)
        self._end(handle, work)

    def _steps_done_before(self, handle: leasehold.Handle) -> int:
        """Read from the summary of the attempt before how far it came."""
        if handle.kind is not leasehold.HandleKind.RECLAIMED:
            return 0
        summary = self._ledger.read.summary(
            handle.execution_id, handle.attempt_index - 1
        )
        return 0 if summary is None else int(json.loads(summary.document_json)["done"])

    def _report(
        self, handle: leasehold.Handle, work: demo_jobs.Work, done: int
    ) -> None:
        line = f"{work.name}: step {done} of {work.steps}"
        self._ledger.append_frame(handle, leasehold.Frame(line.encode()))
        self._ledger.append_frame(
            handle,
            leasehold.Frame(
                json.dumps({"done": done, "by": self._worker_id}).encode(),
                kind=leasehold.FrameKind.EVENT,
                mode=leasehold.Summary(),
            ),
        )
        percent = 100 * done // work.steps
        self._ledger.progress(handle, percent, line)
        self._tell("progressed", handle, percent=percent)

    def _end(self, handle: leasehold.Handle, work: demo_jobs.Work) -> None:
        if work.fails == "once" and handle.attempt_index == 0:
            self._fail(
                handle,
                "the payment gateway did not answer",
                leasehold.FailureClass.TRANSIENT,
            )
        elif work.fails == "good":
            self._fail(
                handle, "the account is closed", leasehold.FailureClass.PERMANENT
            )
        else:
            self._ledger.complete(handle, f"{work.steps} steps".encode())
            self._tell("completed", handle)

    def _fail(
        self,
        handle: leasehold.Handle,
        reason: str,
        failure_class: leasehold.FailureClass,
    ) -> None:
        outcome = self._ledger.fail(handle, reason, failure_class)
        retried = isinstance(outcome, leasehold.RetryScheduled)
        self._tell("failed", handle, why=reason, retried=retried)

    def _tell(
        self, what: str, handle: leasehold.Handle | None = None, **more: object
    ) -> None:
        about = {} if handle is None else _about(handle)
        told = {"what": what, "worker": self._worker_id, **about, **more}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _about(handle: leasehold.Handle) -> dict[str, object]:
    return {
        "execution_id": str(handle.execution_id),
        "attempt": handle.attempt_index,
        "epoch": handle.lease_epoch,
    }


def main() -> None:
    """Run a worker with the id and the capabilities that it is given."""
    worker_id, *capabilities = sys.argv[1:]
    with leasehold.open(os.environ[demo_jobs.STORE_VARIABLE]) as ledger:
        Worker(ledger, worker_id, tuple(capabilities)).run()


if __name__ == "__main__":
    main()
