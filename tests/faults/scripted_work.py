"""Everything that a ledger does to a file, as steps that always come out the same.

The clock stands where the step says, and ids are counted within it. So a step that was
refused and is made again leaves what it would have left at once, and a store is, after
each step, what it is after that step of any other run: byte for byte, row for row.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import leasehold
from leasehold import BestEffort, FailureClass, Fixed, Frame, RetryPolicy, Summary
from leasehold.adapters.commands import Draws
from leasehold.adapters.guarding import REFUSAL_COUNTS
from leasehold.adapters.sqlite import connecting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

START_MS: Final = 1_700_000_000_000
STEP_MS: Final = 3_000
NAME: Final = "ledger.db"
PAGES_CACHED: Final = 12
PAGES_BETWEEN_CHECKPOINTS: Final = 40

_TABLES: Final = "SELECT name, sql FROM sqlite_master ORDER BY type, name"
_VERSIONS: Final = "PRAGMA user_version"


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little work do what usually takes much.

    A cache that is soon full, so that pages are written before the commit; a checkpoint
    every few calls; less patience.
    """
    set_up = connecting.set_up

    def set_up_small(driver: sqlite3.Connection, target: connecting.Target) -> None:
        set_up(driver, target)
        driver.execute(f"PRAGMA cache_size = {PAGES_CACHED}")
        driver.execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}")

    monkeypatch.setattr(connecting, "set_up", set_up_small)
    monkeypatch.setattr(connecting, "BUSY_TIMEOUT_S", 0.05)


def digest_of(path: Path) -> str:
    """Return a digest of all that a store holds: its tables, their rows, its versions.

    Raises:
        AssertionError: SQLite finds the file damaged, or it is in another mode.
    """
    digest = hashlib.sha256()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        made = connection.execute(_TABLES).fetchall()
        digest.update(repr((made, *connection.execute(_VERSIONS))).encode())
        for name, sql in made:
            if sql is not None and sql.startswith("CREATE TABLE"):
                rows = connection.execute(f"SELECT * FROM {name}").fetchall()
                digest.update(repr((name, sorted(rows, key=repr))).encode())
    return digest.hexdigest()


class Work:
    """The steps, on a store in a folder.

    Attributes:
        path: The file.
        ledger: What they are made with.
    """

    def __init__(self, folder: Path, durability: str, bundle: bytes) -> None:
        """Prepare; the first step opens the store."""
        self.path = folder / NAME
        self.durability = durability
        self.bundle = bundle
        self.ledger: Any = None
        self.now_ms = START_MS
        self._number = 0
        self._drawn = count()
        self._handles: dict[str, Any] = {}
        # Refusals are counted by the process, and the leases are the same in each run.
        REFUSAL_COUNTS._counts.clear()

    def make(self, number: int) -> None:
        """Make a step."""
        self._number = number
        self._drawn = count()
        self.now_ms = START_MS + number * STEP_MS
        STEPS[number](self)

    def open(self) -> None:
        """Open the store; make it if it is not there."""
        ledger = leasehold.open(
            f"sqlite:///{self.path}",
            clock=lambda: self.now_ms,
            durability=self.durability,
        )
        ledger._draws = Draws(self._draw, self._draw, self._draw, lambda: 0.0)
        self.ledger = ledger

    def _draw(self) -> UUID:
        return UUID(int=(self._number << 64) + next(self._drawn), version=4)

    def open_anew(self) -> None:
        """Close and open."""
        self.ledger.close()
        self.open()

    def create(self) -> None:
        """Create one with all that there is, known by a key."""
        self.ledger.create_execution(
            lane_id="keyed",
            payload=b"payload" * 100,
            capabilities=["gpu", "cpu"],
            idempotency_key="order-7",
            deadline_at_ms=START_MS + 60_000,
            tags={"a": "b"},
            actor="ann",
        )

    def create_several(self) -> None:
        """Create in one transaction."""
        at_once = RetryPolicy(max_retries=2, backoff=Fixed(500))
        self.ledger.create_executions(
            [{"lane_id": "work", "retry_policy": at_once}] * 3
            + [{"lane_id": "later", "delay_until_ms": START_MS + 12_000}]
        )

    def create_large(self) -> None:
        """Create with more pages than are cached, so that some are written at once."""
        self.ledger.create_execution(lane_id="large", payload=bytes(range(256)) * 320)

    def claim(self, name: str = "first", lane_id: str = "work") -> None:
        """Claim, or take over."""
        handle = self.ledger.claim(lane_id, worker_id=name, lease_ttl_ms=30_000)
        assert handle is not None
        self._handles[name] = handle

    def renew(self) -> None:
        """Extend the lease."""
        self.ledger.renew(self._handles["first"])

    def progress(self) -> None:
        """Report."""
        self.ledger.progress(self._handles["first"], 40, "going")

    def append_frame(self) -> None:
        """Append a durable frame."""
        self.ledger.append_frame(self._handles["first"], Frame(b"line"))

    def append_summary(self) -> None:
        """Append a frame that changes the summary."""
        patch = Frame(b'{"a":1}', mode=Summary())
        self.ledger.append_frame(self._handles["first"], patch)

    def append_best_effort(self) -> None:
        """Append one that is trimmed some day."""
        live = Frame(b"live", mode=BestEffort(maxlen_floor=1, maxlen_ceiling=1))
        self.ledger.append_frame(self._handles["first"], live)

    def complete(self) -> None:
        """End well."""
        self.ledger.complete(self._handles["first"], b"result" * 40)

    def fail(self) -> None:
        """Fail for now."""
        handle = self._handles["second"]
        self.ledger.fail(handle, "broke", FailureClass.TRANSIENT)

    def fail_for_good(self) -> None:
        """Fail and stay so."""
        handle = self._handles["third"]
        self.ledger.fail(handle, "hopeless", FailureClass.PERMANENT)

    def issue_grant(self) -> None:
        """Let the worker go on if it loses the lease."""
        one = self._handles["fourth"].execution_id
        grant = self.ledger.issue_resume_grant(one, worker_id="fourth", ttl_ms=90_000)
        self._handles["grant"] = grant

    def revoke(self) -> None:
        """Take a lease away."""
        one = self._handles["fourth"].execution_id
        self.ledger.revoke_lease(one, actor="ann", reason="stuck")

    def resume(self) -> None:
        """Go on under the grant."""
        grant = self._handles["grant"]
        handle = self.ledger.claim_from_resume_grant(
            grant, worker_id="fourth", lease_ttl_ms=5_000
        )
        assert handle is not None

    def sweep(self) -> None:
        """Record what has come due: a deadline, a delay, a lease."""
        assert self.ledger.sweep() == leasehold.SweepReport(1, 1, 1)

    def operate(self) -> None:
        """Change the order."""
        one = self._handles["fifth"].execution_id
        self.ledger.change_priority(one, 9, actor="ann")

    def cancel(self) -> None:
        """Cancel under a lease."""
        one = self._handles["fifth"].execution_id
        self.ledger.cancel_execution(one, actor="ann", reason="no use")

    def replay(self) -> None:
        """Reopen one that was cancelled."""
        one = self._handles["fifth"].execution_id
        self.ledger.replay_execution(one, actor="ann", reason="again")

    def take_in(self) -> None:
        """Import a bundle."""
        self.ledger.import_bundle(io.BytesIO(self.bundle))

    def rebuild(self) -> None:
        """Make the tables again from the events."""
        assert self.ledger.rebuild() == []

    def checkpoint(self) -> None:
        """Empty the write-ahead log, as an operator would."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def be_refused(self) -> None:
        """Write under a lease that another one has replaced: that is recorded."""
        handle = self._handles["fourth"].replace(lease_epoch=999)
        try:
            self.ledger.renew(handle)
        except leasehold.ContentionError:
            return
        raise AssertionError("a lease that is none was renewed")


def _claim(name: str, lane_id: str = "work") -> Callable[[Work], None]:
    def claim(work: Work) -> None:
        work.claim(name, lane_id)

    return claim


STEPS: Final[tuple[Callable[[Work], None], ...]] = (
    Work.open,
    Work.create_several,
    Work.create,
    _claim("first"),
    Work.renew,
    Work.progress,
    Work.append_frame,
    Work.append_summary,
    Work.append_best_effort,
    Work.complete,
    _claim("second"),
    Work.fail,
    _claim("third"),
    Work.fail_for_good,
    Work.checkpoint,
    Work.create_large,
    _claim("fourth"),
    Work.issue_grant,
    Work.revoke,
    Work.resume,
    Work.open_anew,
    Work.sweep,
    _claim("fifth", "later"),
    Work.operate,
    Work.cancel,
    Work.replay,
    Work.take_in,
    Work.rebuild,
    Work.be_refused,
)
