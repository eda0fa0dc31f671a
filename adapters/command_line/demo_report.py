"""Say how the demonstration came out, from what the ledger holds afterwards."""

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final
from uuid import UUID

import leasehold
from leasehold.adapters.command_line import (
    demo_jobs,
    demo_places,
    listing,
    output,
    tables,
)

_PROGRAM: Final = "leasehold"


@dataclass
class Facts:
    """What only the one who led the demonstration knows."""

    executions: dict[str, UUID] = field(default_factory=dict)
    killed_worker: str = ""
    exit_status: int | None = None
    refusal_code: str = ""
    refusal_text: str = ""
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """Something that had to come out so, and whether it did."""

    text: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is shown at the end."""

    place: demo_places.Place
    seconds: float
    executions: list[leasehold.ExecutionRow]
    workers: dict[UUID, list[str]]
    story: list[leasehold.LeaseEventRow]
    checks: list[Check]
    complaints: list[str]
    commands: list[str]

    @property
    def ok(self) -> bool:
        """Whether everything came out as meant."""
        return all(check.ok for check in self.checks)


def make(ledger: leasehold.Ledger, place: demo_places.Place, facts: Facts) -> Report:
    """Read from the ledger what happened, and hold it against what was meant."""
    rows = ledger.read.executions()
    workers = {
        row.execution_id: [
            attempt.worker_id for attempt in ledger.read.attempts(row.execution_id)
        ]
        for row in rows
    }
    taken_over = facts.executions[demo_jobs.TAKEN_OVER]
    story = listing.read_lease_events(ledger.read, taken_over)
    return Report(
        place=place,
        seconds=facts.seconds,
        executions=rows,
        workers=workers,
        story=story,
        checks=list(_checks(ledger, facts, story)),
        complaints=facts.complaints,
        commands=_commands(place.shown, taken_over),
    )


def _checks(
    ledger: leasehold.Ledger, facts: Facts, story: list[leasehold.LeaseEventRow]
) -> Iterator[Check]:
    ended = {
        name: (row.public_state if (row := ledger.read.execution(execution_id)) else "")
        for name, execution_id in facts.executions.items()
    }
    meant = {
        name: "failed" if name == demo_jobs.REJECTED else "completed" for name in ended
    }
    yield Check("every execution ended as meant, one of them as failed", ended == meant)
    killed = facts.exit_status is not None and (
        os.name != "posix" or facts.exit_status == -signal.SIGKILL
    )
    yield Check("a worker was killed with SIGKILL in mid-lease", killed)
    yield _check_take_over(ledger, facts, story)
    yield Check(
        "the dead worker's handle was refused, and the refusal is on record",
        facts.refusal_code == "lease_conflict"
        and any(row.event_type == "refused" for row in story),
    )
    yield _check_retry(ledger, facts)
    rejected = ledger.read.attempts(facts.executions[demo_jobs.REJECTED])
    yield Check(
        "what failed for good was not tried again",
        [attempt.outcome for attempt in rejected] == ["failed"],
    )
    yield _check_capabilities(ledger, facts)


def _check_take_over(
    ledger: leasehold.Ledger, facts: Facts, story: list[leasehold.LeaseEventRow]
) -> Check:
    attempts = ledger.read.attempts(facts.executions[demo_jobs.TAKEN_OVER])
    epochs = [attempt.lease_epoch for attempt in attempts]
    outcomes = [attempt.outcome for attempt in attempts]
    expired = [row for row in story if row.event_type == "expired"]
    reclaimed = [row for row in story if row.event_type == "reclaimed"]
    ok = (
        outcomes == ["interrupted_reclaimed"] * (len(attempts) - 1) + ["success"]
        and epochs == list(range(1, len(attempts) + 1))
        and len(attempts) > 1
        and attempts[0].worker_id == facts.killed_worker
        and attempts[1].worker_id != facts.killed_worker
        and len(expired) == len(reclaimed) == len(attempts) - 1
    )
    return Check("another took its work over when the lease had run out", ok)


def _check_retry(ledger: leasehold.Ledger, facts: Facts) -> Check:
    attempts = ledger.read.attempts(facts.executions[demo_jobs.RETRIED])
    ok = [attempt.outcome for attempt in attempts[:2]] == ["retry", "success"]
    if ok:
        ended_at_ms = attempts[0].terminal_at_ms or 0
        waited_ms = attempts[1].started_at_ms - ended_at_ms
        ok = waited_ms >= demo_jobs.RETRY_DELAY_MS
    return Check("what failed for a moment was retried after its backoff", ok)


def _check_capabilities(ledger: leasehold.Ledger, facts: Facts) -> Check:
    ok = all(
        set(job.capabilities) <= set(demo_jobs.WORKERS[attempt.worker_id])
        for job in demo_jobs.JOBS
        for attempt in ledger.read.attempts(facts.executions[job.work.name])
    )
    return Check("nobody got work that it is not able to do", ok)


def _commands(url: str, execution_id: UUID) -> list[str]:
    program, store = _called_as(), shlex.quote(url)
    return [
        f"{program} list --store {store}",
        f"{program} show {execution_id} --store {store}",
        f"{program} history {execution_id} --store {store}",
    ]


def _called_as() -> str:
    """Return how this program was called, so that the next call works as printed."""
    called = Path(sys.argv[0])
    if called.stem != _PROGRAM or not called.exists():
        return _PROGRAM
    found = shutil.which(_PROGRAM)
    if found is not None and called.samefile(found):
        return _PROGRAM
    return shlex.quote(sys.argv[0])


def show(report: Report, *, as_json: bool) -> None:
    """Show the report, as tables or as one JSON document."""
    if as_json:
        output.print_json(
            {
                "ok": report.ok,
                "store": report.place.shown,
                "seconds": round(report.seconds, 2),
                "checks": report.checks,
                "executions": report.executions,
                "lease_events": report.story,
                "complaints": report.complaints,
                "next": report.commands,
                "remove": report.place.how_to_remove(),
            }
        )
        return
    _show_executions(report)
    _show_story(report.story)
    output.print_line("")
    output.print_line("what had to come out", style="bold")
    for check in report.checks:
        mark, style = ("ok    ", "green") if check.ok else ("FAILED", "bold red")
        output.print_line(f"  {mark}  {check.text}", style=style)
    for complaint in report.complaints:
        output.print_line(f"  {complaint}", style="red")
    output.print_line("")
    _show_what_is_left(report)


def _show_what_is_left(report: Report) -> None:
    place = report.place
    output.print_line(
        f"{report.seconds:.1f} s; the ledger stays in {place.shown}. Try next:",
        style="bold",
    )
    for command in report.commands:
        output.print_line(f"  {command}")
    if place.shown != place.url:
        output.print_line("The password is left out: give it as PGPASSWORD.")
    statement = place.how_to_remove()
    if statement is not None:
        output.print_line(f"To remove it: {statement}")


def _show_executions(report: Report) -> None:
    needs = {job.work.name: ", ".join(job.capabilities) for job in demo_jobs.JOBS}
    output.print_line("")
    tables.print_table(
        ("execution", "lane", "priority", "needs", "state", "attempts", "workers"),
        [
            (
                row.tags["name"],
                row.lane_id,
                row.priority,
                needs[row.tags["name"]] or None,
                row.public_state,
                len(report.workers[row.execution_id]),
                " → ".join(report.workers[row.execution_id]),
            )
            for row in report.executions
        ],
        title="the executions",
        styles=[output.STATE_STYLES.get(row.public_state) for row in report.executions],
    )


def _show_story(story: list[leasehold.LeaseEventRow]) -> None:
    output.print_line("")
    output.print_line(f"the leases of {demo_jobs.TAKEN_OVER}", style="bold")
    if not story:
        return
    begin_ms = story[0].occurred_at_ms
    for epoch, rows in groupby(_by_epoch(story), key=lambda row: row.lease_epoch):
        lines = list(rows)
        first = lines[0]
        output.print_line(
            f"  epoch {epoch}: attempt {first.attempt_index}, {first.worker_id} "
            f"({first.worker_instance_id})",
            style="bold",
        )
        for row, count in listing.renewals_joined(lines):
            output.print_line(f"    {_story_line(row, count, begin_ms)}")


def _by_epoch(story: list[leasehold.LeaseEventRow]) -> list[leasehold.LeaseEventRow]:
    return sorted(story, key=lambda row: (row.lease_epoch, row.event_id))


def _story_line(row: leasehold.LeaseEventRow, count: int, begin_ms: int) -> str:
    at = f"{(row.occurred_at_ms - begin_ms) / 1000:+6.2f} s"
    event = row.event_type if count == 1 else f"{row.event_type} ×{count}"
    line = f"{at}  {event:<12} {row.cause:<15}"
    if row.expires_at_ms is not None and row.event_type != "expired":
        line += f" until {(row.expires_at_ms - begin_ms) / 1000:+.2f} s"
    if row.operation is not None:
        line += f" {row.operation} came too late"
        if row.late_ms is not None:
            line += f" by {row.late_ms / 1000:.2f} s"
    return line.rstrip()
