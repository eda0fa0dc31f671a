"""The scripted work on a disk that fails, and what must hold then.

A step that is refused has done nothing, and is done when the disk is well again, by the
same ledger. So whatever failed in between, the store is after each step what it is
after that step of a run in which nothing failed.
"""

from __future__ import annotations

import io
import shutil
import sqlite3
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from uuid import UUID

from disks import Change, Disk, Files, Plan
from scripted_work import NAME, STEPS, Work, digest_of
from sqlite_vfs import layer

import leasehold

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LAST: Final = len(STEPS) - 1
STEPS_AFTER: Final = 4
"""How far a run goes on when the disk is well again: some checkpoints lie there."""

CODES: Final = {"store_unavailable", "store_busy", "(SQLite's own)"}
"""How a call is refused; the last, an operator's own checkpoint."""


@dataclass
class Reference:
    """A run in which nothing failed.

    Attributes:
        digests: Of the store after each step.
        asked: What SQLite asked of the disk, by kind.
        asked_until: How much it had asked by the end of each step.
        changes: What happened to the files.
        changed_until: How much had happened by the end of each step.
        opener: Opens what was left; knows the digests of stores that are whole.
    """

    opener: Opener
    digests: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    asked_until: list[int] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    changed_until: list[int] = field(default_factory=list)


@dataclass
class Seen:
    """What a failing disk led to.

    Attributes:
        hits: How often the disk failed.
        refused: How many calls were refused.
        codes: Their codes.
        done: Whether the refused call is there where the process dies at once; None
            where no call was refused.
    """

    hits: int = 0
    refused: int = 0
    codes: set[str] = field(default_factory=set)
    done: bool | None = None


@cache
def bundle_of_one() -> bytes:
    """Return a bundle with an execution in it."""
    file = io.BytesIO()
    with leasehold.open("sqlite://", clock=lambda: 1) as ledger:
        ledger.create_execution(lane_id="imported", execution_id=UUID(int=7))
        ledger.export(file)
    return file.getvalue()


def refer(folder: Path, durability: str) -> Reference:
    """Do the work on a disk that does not fail."""
    disk, reference = Disk(folder), Reference(Opener(folder / "left"))
    disk.is_counting = True
    with layer(disk):
        work = Work(folder, durability, bundle_of_one())
        for number in range(len(STEPS)):
            work.make(number)
            reference.asked_until.append(len(disk.asked))
            reference.changed_until.append(len(disk.changes))
        # To look at the store changes what is asked for, so that is done later.
        disk.is_counting = False
        work.ledger.close()
    reference.asked, reference.changes = disk.asked, disk.changes
    files = Files()
    for begin, end in pairwise((0, *reference.changed_until)):
        for change in reference.changes[begin:end]:
            files.change(change)
        reference.digests.append(reference.opener.digest_of(files.kept()))
    return reference


class Opener:
    """Opens the store as it was left, as the next process does.

    Attributes:
        path: Where it is put.
    """

    def __init__(self, folder: Path) -> None:
        """Put the files into a folder of their own."""
        self._folder = folder
        self.path = folder / NAME
        self._known: set[str] = set()

    def digest_of(self, files: Mapping[str, bytes]) -> str:
        """Open the store in some files and check it; return the digest of its rows.

        What holds the same rows as a store that was verified and audited is not read
        again, only checked by SQLite.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for name, content in files.items():
            (self._folder / name).write_bytes(content)
        with leasehold.open(f"sqlite:///{self.path}", durability="normal") as ledger:
            digest = digest_of(self.path)
            if digest not in self._known:
                assert ledger.verify().ok
                assert ledger.audit().ok
                self._known.add(digest)
        return digest


class Run:
    """The work on a disk that fails by a plan.

    Attributes:
        disk: The disk.
        seen: What its failing led to.
        made: After which change of the files which step was answered.
    """

    def __init__(
        self, folder: Path, durability: str, plan: Plan, reference: Reference
    ) -> None:
        """Prepare; nothing is done yet."""
        folder.mkdir()
        self._folder = folder
        self.disk = Disk(folder, plan)
        self.seen = Seen()
        self.made: list[tuple[int, int]] = []
        self._plan = plan
        self._work = Work(folder, durability, bundle_of_one())
        self._reference = reference

    def endure(self) -> Seen:
        """Do the work; whatever fails, hold what is there against the promises."""
        with layer(self.disk):
            try:
                self._check_end(self._make_all())
            finally:
                self.disk.heal()
                if self._work.ledger is not None:
                    self._work.ledger.close()
        self.seen.hits = self.disk.hits
        shutil.rmtree(self._folder)
        return self.seen

    def _make_all(self) -> int:
        """Make all steps, or a few after the disk has healed; return the last one."""
        left = STEPS_AFTER
        for number in range(len(STEPS)):
            if not self._attempt(number):
                self._retry(number)
            self.made.append((len(self.disk.changes), number))
            if self._is_over():
                self.disk.heal()
                left -= 1
                if not left:
                    return number
        return LAST

    def _is_over(self) -> bool:
        """Say whether nothing will fail any more."""
        plan = self.disk.plan
        return plan is None or (not plan.lasts and self.disk.hits > 0)

    def _attempt(self, number: int) -> bool:
        """Make a step; say whether it was not refused."""
        self.disk.is_counting = True
        # Nothing stands between an operator's own connection and SQLite.
        is_plain = STEPS[number] is Work.checkpoint
        refusal = sqlite3.Error if is_plain else leasehold.StoreError
        try:
            self._work.make(number)
        except refusal as error:
            self.seen.codes.add(getattr(error, "code", "(SQLite's own)"))
        else:
            return True
        finally:
            self.disk.is_counting = False
        self.seen.refused += 1
        return False

    def _retry(self, number: int) -> None:
        """Have a refused step made, at first on a disk that may fail still."""
        self._check_kill(number)
        if not self._attempt(number):
            self.disk.heal()
            if self._plan.fault.strands and self._work.ledger is not None:
                # SQLite gives such a lock back with the last connection of a process.
                self._work.open_anew()
            if number:
                assert digest_of(self._work.path) == self._reference.digests[number - 1]
            self._work.make(number)
        self.disk.heal()
        assert digest_of(self._work.path) == self._reference.digests[number]

    def _check_kill(self, number: int) -> None:
        """Check what the next process finds if this one dies with the refusal."""
        if self.seen.done is not None:
            return
        digest = self._reference.opener.digest_of(self.disk.files().kept())
        digests = self._reference.digests
        before, after = digests[max(0, number - 1)], digests[number]
        assert digest in (before, after), "the call was done by half"
        self.seen.done = digest != before

    def _check_end(self, number: int) -> None:
        assert self.seen.codes <= CODES
        ledger, digests = self._work.ledger, self._reference.digests
        assert ledger.verify().ok
        assert ledger.audit().ok
        known = {digests[number]}
        if number == LAST and self.disk.hits:
            # A refusal is answered also where it cannot be recorded.
            known.add(digests[number - 1])
        assert digest_of(self._work.path) in known
        ledger.close()
        assert digest_of(self._work.path) in known
