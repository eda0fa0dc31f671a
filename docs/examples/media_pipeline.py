"""A media pipeline: stages that need different machines, each begun by the one before.

    python media_pipeline.py [STORE]

A film is probed, its picture and its sound are encoded beside each other, and both are
packaged. Handlers know nothing of that order: a conductor follows the log, and submits
what comes next when a stage has been completed. Whoever is killed in the middle, start
the program again on the same store: it goes on where it was.
"""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import leasehold

STORE: Final = "sqlite:///media_pipeline.db"
LANE: Final = "media"
LEASE_TTL_MS: Final = 10_000
STEP_S: Final = 0.01
PATIENCE_S: Final = 60
RETRY_POLICY: Final = leasehold.RetryPolicy(
    max_retries=3, backoff=leasehold.Fixed(delay_ms=50)
)
ENDS: Final = (
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "execution.expired",
)

FILMS: Final = {"heron": 0, "newsreel": 500, "noise": 0, "tern": 0}
"""The films with their priorities."""

WORKERS: Final = {
    "tower": ("ffmpeg", "gpu"),
    "laptop": ("ffmpeg",),
    "archive": ("storage",),
}
"""The machines with what they can do. Each would be a process on its own host."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage needs: capabilities of its worker, and other stages before it."""

    capabilities: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


# What few workers can do stands after what many can: it gets the higher priority.
STAGES: Final = {
    "probe": Stage(),
    "audio": Stage(("ffmpeg",), after=("probe",)),
    "video": Stage(("ffmpeg", "gpu"), after=("probe",)),
    "package": Stage(("storage",), after=("audio", "video")),
}
LAST: Final = "package"


class DamagedFilmError(Exception):
    """Trying again does not help."""


def execution_of(film: str, stage: str, inputs: dict[str, str]) -> dict[str, Any]:
    """Describe a stage of a film; submitted again, it is the same execution."""
    return {
        "lane_id": LANE,
        "payload": json.dumps(inputs, sort_keys=True).encode(),
        "capabilities": STAGES[stage].capabilities,
        # Among equal films, those that are nearer to their end come first.
        "priority": FILMS[film] + list(STAGES).index(stage),
        "idempotency_key": f"{film}/{stage}",
        "namespace": LANE,
        "tags": {"film": film, "stage": stage},
        "retry_policy": RETRY_POLICY,
    }


def work(context: leasehold.WorkContext) -> bytes:
    """Do a stage; in place of the programs that do the work, it waits a little."""
    film, stage = context.tags["film"], context.tags["stage"]
    if film == "noise":
        raise DamagedFilmError("this is no film")
    if (film, stage) == ("heron", "video"):
        if context.last_failure is None:
            raise ConnectionError("the graphics card does not answer")
        print(f"heron/video again, after: {context.last_failure.message}")
    for percent in (25, 50, 75, 100):
        context.lost.wait(STEP_S)
        context.progress(percent)  # Raises if the lease is lost.
    inputs = json.loads(context.payload).values()
    return f"{stage}({','.join(inputs) or film})".encode()


def conduct(ledger: leasehold.Ledger) -> list[str]:
    """Submit what comes next as stages end; return what became of each film.

    The log is read from its beginning: what was submitted by an earlier run is found
    by its key, and what an earlier run had no time for is submitted now.

    Raises:
        TimeoutError: Nothing has ended for too long.
    """
    results: dict[str, dict[str, str]] = {film: {} for film in FILMS}
    told: dict[str, str] = {}
    with ledger.subscribe(after=0, topics=ENDS) as ends:
        while len(told) < len(FILMS):
            events = ends.next_events(PATIENCE_S)
            if not events:
                raise TimeoutError(f"nothing has ended for {PATIENCE_S} s")
            for recorded in events:
                row = ledger.read.execution(recorded.event.execution_id)
                if row is None or row.lane_id != LANE:
                    continue
                film, stage = row.tags["film"], row.tags["stage"]
                if row.result is None:
                    told[film] = f"{film}: {row.public_state} at {stage}"
                    continue
                results[film][stage] = row.result.decode()
                if stage == LAST:
                    told[film] = f"{film}: {results[film][stage]}"
                ledger.create_executions(what_follows(film, stage, results[film]))
    return [told[film] for film in FILMS]


def what_follows(
    film: str, ended: str, results: dict[str, str]
) -> list[dict[str, Any]]:
    """Describe the stages that waited for this one, if they wait for no other."""
    return [
        execution_of(film, name, {it: results[it] for it in stage.after})
        for name, stage in STAGES.items()
        if ended in stage.after and set(stage.after) <= results.keys()
    ]


@contextmanager
def working(ledger: leasehold.Ledger) -> Iterator[None]:
    """Have the workers work while the block runs."""
    workers = [
        leasehold.Worker(
            ledger,
            work,
            lanes=[LANE],
            capabilities=capabilities,
            worker_id=worker_id,
            lease_ttl_ms=LEASE_TTL_MS,
            failure_classes={DamagedFilmError: leasehold.FailureClass.PERMANENT},
        )
        for worker_id, capabilities in WORKERS.items()
    ]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join()


def show(ledger: leasehold.Ledger) -> None:
    """Print who did what, in the order in which it was begun."""
    rows = {row.execution_id: row for row in ledger.read.executions(LANE)}
    for tenure in ledger.read.tenures(lane_id=LANE):
        row = rows[tenure.execution_id]
        name = f"{row.tags['film']}/{row.tags['stage']}"
        needs = ", ".join(STAGES[row.tags["stage"]].capabilities) or "nothing"
        print(
            f"  {name:16} needs {needs:12} priority {row.priority:3}  "
            f"{tenure.worker_id:8} {tenure.ended_by}"
        )


def main(url: str) -> bool:
    """Run the pipeline; say whether the audit finds no error."""
    with leasehold.open(url) as ledger:
        ledger.create_executions(execution_of(film, "probe", {}) for film in FILMS)
        with working(ledger):
            outcomes = conduct(ledger)
        print(*outcomes, sep="\n")
        show(ledger)
        report = ledger.audit()
    for finding in report.findings:
        print(f"{finding.severity}: {finding.text}")
    print("audit:", "ok" if report.ok else "not ok")
    return report.ok


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1] if sys.argv[1:] else STORE) else 1)
