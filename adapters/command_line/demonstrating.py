"""Demonstrate the ledger: three processes, one killed, its work taken over."""

import time
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

import leasehold
from leasehold.adapters.command_line import (
    demo_jobs,
    demo_places,
    demo_progress,
    demo_report,
    options,
)
from leasehold.adapters.command_line.demo_processes import Told, Workers

_DEADLINE_S: Final = 14.0
_POLL_S: Final = 0.05
_KILL_AT_PERCENT: Final = 50


def demo(
    *,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="A ledger that is not there yet; a new file here unless given. In a "
            "PostgreSQL database, a new schema unless the URL names one.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run a dozen executions on three processes, and kill one of them.

    The ledger stays, to look around in: a file, or a schema. Exit status 0 only if
    all came out as meant.
    """
    place = demo_places.choose(store)
    with leasehold.open(place.url) as ledger:
        if any(ledger.read.counts().values()):
            message = (
                f"{place.shown} holds executions: the demo wants a ledger of its own"
            )
            raise leasehold.InvalidInputError(message)
        with demo_progress.choose(as_json=as_json) as shown:
            run = _Demonstration(ledger, place, shown)
            run.go()
        report = demo_report.make(ledger, place, run.facts)
    demo_report.show(report, as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


@dataclass
class _Demonstration:
    """Lead the workers through the story, and keep the facts that it leaves."""

    ledger: leasehold.Ledger
    place: demo_places.Place
    shown: demo_progress.Progress
    names: dict[str, str] = field(default_factory=dict)
    facts: demo_report.Facts = field(default_factory=demo_report.Facts)
    dead_token: str = ""

    def go(self) -> None:
        """Create the executions, start the workers, and see it through."""
        started = time.monotonic()
        self.shown.say(f"a new ledger in {self.place.shown}")
        ids = self.ledger.create_executions([job.arguments() for job in demo_jobs.JOBS])
        for execution_id, job in zip(ids, demo_jobs.JOBS, strict=True):
            self.names[str(execution_id)] = job.work.name
            self.facts.executions[job.work.name] = execution_id
        lanes = " and ".join(demo_jobs.LANES)
        self.shown.say(f"{len(ids)} executions wait in the lanes {lanes}")
        with Workers(self.place.url) as workers:
            while time.monotonic() - started < _DEADLINE_S:
                told = workers.next(_POLL_S)
                if told is not None:
                    self._follow(told, workers)
                elif not workers.any_alive():
                    break
                self.shown.tick(self.ledger)
        self.facts.complaints = workers.complaints
        self.facts.seconds = time.monotonic() - started

    def _follow(self, told: Told, workers: Workers) -> None:
        name = self.names.get(told.fields.get("execution_id", ""), "")
        text = demo_progress.sentence(told, name)
        if text is not None and told.worker != self.facts.killed_worker:
            self.shown.say(text)
        if name != demo_jobs.TAKEN_OVER:
            return
        if told.what == "claimed" and not self.dead_token:
            self.dead_token = told.fields["token"]
        elif told.what == "claimed" and not self.facts.refusal_code:
            self._use_the_dead_handle()
        elif (
            told.what == "progressed"
            and told.fields["percent"] >= _KILL_AT_PERCENT
            and not self.facts.killed_worker
        ):
            self._kill(told.worker, workers)

    def _kill(self, worker: str, workers: Workers) -> None:
        self.facts.killed_worker = worker
        self.facts.exit_status = workers.kill(worker)
        self.shown.say(
            f"SIGKILL to process {workers.process_id(worker)}: {worker} is dead in "
            f"mid-lease, and {demo_jobs.TAKEN_OVER} waits for its lease to run out",
            style="bold red",
        )

    def _use_the_dead_handle(self) -> None:
        handle = leasehold.Handle.parse(self.dead_token)
        try:
            self.ledger.complete(handle, b"finished by the dead")
        except leasehold.ContentionError as error:
            self.facts.refusal_code = error.code
            self.facts.refusal_text = str(error)
        worker = self.facts.killed_worker
        told = self.facts.refusal_text or "it was accepted, which must not be"
        self.shown.say(f"{worker}'s old handle completes: {told}", style="bold red")
