"""Who is measured, in which shape and at which durability, and what differs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"


@dataclass(frozen=True)
class Peer:
    """One row of the tables.

    Attributes:
        script: What comes after `peer_` in the name of its script, and its
            requirements are called.
        on_postgres: Whether it keeps its work there, and not in SQLite.
        shape: What leasehold does beside it: see `frame`.
        durability: What both sides are told, where there is something to tell.
        differs: What it does less, and more, in a few words.
    """

    script: str
    on_postgres: bool
    shape: str
    durability: str
    differs: str

    @property
    def requirements(self) -> Path:
        """The file with its pinned versions, its own in the first line."""
        return REQUIREMENTS / f"{self.script}.txt"

    @property
    def package(self) -> str:
        """Its name and version."""
        lines = self.requirements.read_text(encoding="utf-8").splitlines()
        return lines[0].replace("==", " ")


PEERS = {
    "huey": Peer(
        "huey",
        on_postgres=False,
        shape="calls",
        durability="full",
        differs=(
            "A task is deleted when it is taken, its result kept until it is read. No "
            "lease, no history. More: schedules, pipelines, rate limits"
        ),
    ),
    "litequeue": Peer(
        "litequeue",
        on_postgres=False,
        shape="calls",
        durability="normal",
        differs=(
            "A row with three times and a state. No result, no lease: one asks for what"
            " is locked too long (here too), and `done` is taken from anybody"
        ),
    ),
    "litequeue-full": Peer(
        "litequeue",
        on_postgres=False,
        shape="calls",
        durability="full",
        differs="As above, with synchronous set to FULL on its connections",
    ),
    "persist-queue": Peer(
        "persist_queue",
        on_postgres=False,
        shape="calls",
        durability="full",
        differs=(
            "A row with a time and a state; for one process. No result, no lease: who "
            "opens the file puts back all that is unacknowledged, also of the living"
        ),
    ),
    "eventsourcing": Peer(
        "eventsourcing",
        on_postgres=False,
        shape="calls",
        durability="full",
        differs=(
            "The history, in three events, and nothing else: no lease, no query for "
            "what waits or is held (here the ids go through a queue in memory)"
        ),
    ),
    "dbos": Peer(
        "dbos",
        on_postgres=False,
        shape="worker",
        durability="full",
        differs=(
            "A row that is updated, with input, result and executor. No lease: an "
            "executor that starts goes on with what was its own; what the old run ends "
            "with then is refused, and not recorded. More: steps that are not repeated"
        ),
    ),
    "procrastinate": Peer(
        "procrastinate",
        on_postgres=True,
        shape="worker",
        durability="full",
        differs=(
            "A row for the job and one for each change of its state. No result. Workers"
            " send heartbeats; a task that one writes (here too) retries the jobs of "
            "silent ones. The end is taken from any worker. More: locks, periodic tasks"
        ),
    ),
    "pgqueuer": Peer(
        "pgqueuer",
        on_postgres=True,
        shape="worker",
        durability="full",
        differs=(
            "The job is deleted at the end, and each change of its state is a row of a "
            "log. No result. A heartbeat for each job; silent ones are taken again, "
            "and the end is taken from any worker. In batches. More: schedules"
        ),
    ),
}
