"""A store to look at: four lanes, eight workers, and ten minutes with much trouble.

Workers are generators that sleep for so many ms; a clock moved by hand carries them
from one to the next, so that the same story comes out each time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import leasehold

START_MS = 1_767_603_600_000
"""2026-01-05 09:00:00 UTC."""
TTL_MS = 30_000
BEAT_MS = 9_000
Sleep = Iterator[int]

JOBS = (
    ("render", "scene 12", 150),
    ("render", "scene 13", 110),
    ("render", "scene 14", 190),
    ("render", "trailer", 80),
    ("render", "credits", 60),
    ("render", "scene 15", 170),
    ("render", "scene 16", 140),
    ("billing", "invoices", 70),
    ("billing", "card charge", 50),
    ("billing", "refunds", 90),
    ("billing", "ledger close", 120),
    ("mail", "digest", 40),
    ("mail", "reminders", 65),
    ("mail", "receipts", 55),
    ("mail", "newsletter", 100),
)
CRASHES = {"scene 14": 47, "ledger close": 64}
"""Seconds after which the first worker to hold it falls silent."""
FAILS = frozenset({"card charge"})
"""Work that fails the first time."""


@dataclass
class Stage:
    """The ledger, the clock, and who acts next."""

    url: str
    now_ms: int = START_MS
    waiting: list[tuple[int, int, Sleep]] = field(default_factory=list)
    count: Iterator[int] = field(default_factory=itertools.count)
    works: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    crashed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def clock(self) -> int:
        """Tell the time of the story."""
        return self.now_ms

    def enter(self, actor: Sleep, after_ms: int = 0) -> None:
        """Let somebody act from now on, or a while later."""
        turn = (self.now_ms + after_ms, next(self.count), actor)
        heapq.heappush(self.waiting, turn)

    def play(self, until_ms: int) -> None:
        """Let all act until then."""
        while self.waiting and self.waiting[0][0] <= until_ms:
            at_ms, _, actor = heapq.heappop(self.waiting)
            self.now_ms = max(self.now_ms, at_ms)
            sleep_ms = next(actor, None)
            if sleep_ms is not None:
                self.enter(actor, sleep_ms)
        self.now_ms = until_ms
        for _, _, actor in self.waiting:
            actor.close()


@dataclass(frozen=True)
class Shown:
    """The store at the end of the story, and the page about it."""

    ledger: leasehold.Ledger
    report: leasehold.AuditReport
    page: Path


@contextmanager
def show(folder: Path) -> Iterator[Shown]:
    """Make the store and the page in a folder; the store stays open to read."""
    from leasehold.adapters.report.page import write_report

    url = f"sqlite:///{folder / 'leasehold.db'}"
    stage = play(url)
    clock = stage.clock
    with leasehold.open(url, clock=clock, read_only=True) as ledger:
        report = ledger.audit()
        page = folder / "audit.html"
        write_report(ledger.read, report, page, title="Lease audit of leasehold.db")
        yield Shown(ledger, report, page)


def drawing(name: str) -> random.Random:
    """Give everybody dice of their own, so that one more changes nobody else's."""
    return random.Random(name)


def play(url: str, jobs: tuple[tuple[str, str, int], ...] = JOBS) -> Stage:
    """Make the store under a url; the clock stands where the story ends."""
    stage = Stage(url)
    with leasehold.open(url, clock=stage.clock) as ledger:
        for number, (lane, name, seconds) in enumerate(jobs):
            job = (lane, name, seconds)
            stage.enter(submitter(stage, ledger, number, job))
        for lane, names in (
            ("render", ("render-amber", "render-birch", "render-cedar")),
            ("billing", ("billing-1", "billing-2")),
            ("mail", ("mailer",)),
        ):
            for name in names:
                stage.enter(worker(stage, ledger, lane, name), 500)
        stage.enter(operator(stage, ledger), 100_000)
        stage.play(START_MS + 520_000)
    return stage


def submitter(stage, ledger, number, job) -> Sleep:
    lane, name, seconds = job
    yield drawing(name).randrange(60_000)
    identifier = UUID(int=(stage.now_ms << 80) | (7 << 76) | (2 << 62) | number * 7919)
    execution_id = ledger.create_execution(
        lane_id=lane,
        payload=name.encode(),
        tags={"name": name},
        execution_id=identifier,
        actor="scheduler",
    )
    stage.works[execution_id] = (name, seconds)


def worker(stage, ledger, lane, name) -> Sleep:
    dice = drawing(name)
    while True:
        handle = ledger.claim(
            lane,
            worker_id=name,
            worker_instance_id=f"{name}@host-{len(name) % 3}",
            lease_ttl_ms=TTL_MS,
        )
        if handle is None:
            yield dice.randrange(2_000, 6_000)
            continue
        yield from work(stage, ledger, handle)


def work(stage, ledger, handle) -> Sleep:
    """Renew until the work is done; a crash is a silence, and then a late write."""
    name, seconds = stage.works[handle.execution_id]
    dice = drawing(f"{name} {handle.lease_epoch}")
    left_ms = int(seconds * 1000 * dice.uniform(0.7, 1.3))
    silent_after_ms = None
    if name in CRASHES and name not in stage.crashed:
        stage.crashed.add(name)
        silent_after_ms = CRASHES[name] * 1000
    done_ms = 0
    try:
        while done_ms < left_ms:
            if silent_after_ms is not None and done_ms >= silent_after_ms:
                yield TTL_MS * 3
                ledger.renew(handle)
            yield (step_ms := int(BEAT_MS * dice.uniform(0.6, 1.4)))
            done_ms += step_ms
            ledger.renew(handle)
            ledger.progress(handle, percent=min(100, 100 * done_ms // left_ms))
        if name in FAILS and name not in stage.failed:
            stage.failed.add(name)
            reason = "the bank did not answer"
            ledger.fail(handle, reason, leasehold.FailureClass.TRANSIENT)
        else:
            ledger.complete(handle, b"done")
    except leasehold.ContentionError:
        yield 4_000
        try:
            ledger.complete(handle, b"late")
        except leasehold.ContentionError:
            yield 3_000


def operator(stage, ledger) -> Sleep:
    """Take a lease away, resume it with a grant, and leave one job to nobody."""
    by_name = {name: key for key, (name, _) in stage.works.items()}
    while ledger.read.execution(by_name["newsletter"]).ownership_state != "leased":
        yield 1_000
    yield 9_000
    ledger.revoke_lease(by_name["newsletter"], actor="dana", reason="wrong template")
    yield 6_000
    grant = ledger.issue_resume_grant(
        by_name["newsletter"], worker_id="mailer-spare", actor="dana"
    )
    handle = ledger.claim_from_resume_grant(grant, worker_id="mailer-spare")
    stage.enter(work(stage, ledger, handle))
    yield 180_000
    lost = ledger.create_execution(
        lane_id="archive",
        payload=b"year end",
        actor="scheduler",
        execution_id=UUID(int=(stage.now_ms << 80) | (7 << 76) | (2 << 62) | 99_991),
    )
    stage.works[lost] = ("year end", 60)
    handle = ledger.claim(
        "archive", worker_id="archiver", worker_instance_id="archiver@host-2"
    )
    yield 12_000
    ledger.renew(handle)
