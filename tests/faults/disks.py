"""A disk that fails when it is told to, and that can lose what was not synced.

It stands under SQLite (`sqlite_vfs`), has the system do what is asked, and remembers of
each file what was synced and what was written since. From that the files can be told
that are there after the power was cut.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlite_vfs import OK, OPEN_CREATE, Io

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

SECTOR: Final = 512
"""In bytes: what a disk writes whole or not at all."""

_SYNCS_FOLDER: Final = 0x800 | 0x4000 | 0x80000
"""Opened as a journal or a WAL: its first sync syncs the folder as well (os_unix.c)."""


class Fault(NamedTuple):
    """A way in which a disk fails.

    Attributes:
        name: In words.
        codes: What is answered, by the kind of what was asked.
        half: Whether half of a write is done nevertheless.
        done: Whether all of it is done nevertheless.
        loses: Whether what a failed sync should have made durable is lost for good,
            though it can still be read: what Linux does.
        strands: Whether a lock stays that SQLite believes to have let go of.
    """

    name: str
    codes: dict[str, int]
    half: bool = False
    done: bool = False
    loses: bool = False
    strands: bool = False


_UNLOCKS: Final = {
    "unlock": sqlite3.SQLITE_IOERR_UNLOCK,
    "shm_unlock": sqlite3.SQLITE_IOERR_SHMLOCK,
}
FAULTS: Final = (
    Fault("a write fails", {"write": sqlite3.SQLITE_IOERR_WRITE}),
    Fault("a write is torn", {"write": sqlite3.SQLITE_IOERR_WRITE}, half=True),
    Fault(
        "the disk is full",
        {"write": sqlite3.SQLITE_FULL, "shm_map": sqlite3.SQLITE_IOERR_SHMSIZE},
        half=True,
    ),
    Fault("a sync fails", {"sync": sqlite3.SQLITE_IOERR_FSYNC}),
    Fault(
        "a sync fails and loses",
        {"sync": sqlite3.SQLITE_IOERR_FSYNC},
        loses=True,
    ),
    Fault("a file cannot be cut", {"truncate": sqlite3.SQLITE_IOERR_TRUNCATE}),
    Fault(
        "a lock fails",
        {"lock": sqlite3.SQLITE_IOERR_LOCK, "shm_lock": sqlite3.SQLITE_IOERR_SHMLOCK},
    ),
    Fault(
        "a lock is held by another",
        {"lock": sqlite3.SQLITE_BUSY, "shm_lock": sqlite3.SQLITE_BUSY},
    ),
    Fault("an unlock fails", _UNLOCKS, strands=True),
    Fault("an unlock is done and fails", _UNLOCKS, done=True),
    Fault("shared memory fails", {"shm_map": sqlite3.SQLITE_IOERR_SHMMAP}),
    Fault("a file cannot be opened", {"open": sqlite3.SQLITE_CANTOPEN}),
    Fault("a file cannot be deleted", {"delete": sqlite3.SQLITE_IOERR_DELETE}),
    Fault(
        "a read fails",
        {"read": sqlite3.SQLITE_IOERR_READ, "size": sqlite3.SQLITE_IOERR_FSTAT},
    ),
)


class Change(NamedTuple):
    """Something that happened to a file.

    Attributes:
        kind: `name`, `unname`, `write`, `truncate`, `sync` or `lose`.
        inode: Which file; -1 for `unname`.
        name: Under which name, for the two that change the folder.
        number: The place or the size; for `sync` and `unname`, whether the folder is
            synced with it.
        data: What was written.
    """

    kind: str
    inode: int
    name: str = ""
    number: int = 0
    data: bytes = b""


@dataclass
class Inode:
    """A file: what is sure to be on the disk, what is read, what was not synced."""

    synced: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Write or cut."""
        _apply(self.seen, change)
        self.pending.append(change)

    def sync(self) -> None:
        """Make sure of all that is pending."""
        for change in self.pending:
            _apply(self.synced, change)
        self.pending.clear()

    def torn(self, chance: Random) -> bytes:
        """Return it with some sectors of what was not synced, whichever they are."""
        share = chance.choice((0.1, 0.5, 0.9))
        content = bytearray(self.synced)
        for change in self.pending:
            for part in _sectors(change):
                if chance.random() < share:
                    _apply(content, part)
        return bytes(content)


def _apply(content: bytearray, change: Change) -> None:
    """Do to a file what was done."""
    place = change.number
    if place > len(content):
        content.extend(bytes(place - len(content)))
    if change.kind == "truncate":
        del content[place:]
    else:
        content[place : place + len(change.data)] = change.data


def _sectors(change: Change) -> Iterator[Change]:
    """Cut a write where sectors end."""
    if change.kind == "truncate":
        yield change
    begin, end = change.number, change.number + len(change.data)
    while begin < end:
        until = min(end, (begin // SECTOR + 1) * SECTOR)
        data = change.data[begin - change.number : until - change.number]
        yield change._replace(number=begin, data=data)
        begin = until


class Files:
    """The files of a folder, as they are read and as they are after a power cut."""

    def __init__(self) -> None:
        """Begin with an empty folder."""
        self._inodes: dict[int, Inode] = {}
        self._names: dict[str, int] = {}
        self._synced_names: dict[str, int] = {}
        self._renamed: dict[str, list[int | None]] = {}

    def change(self, change: Change) -> None:
        """Take in what happened."""
        match change.kind:
            case "name":
                self._inodes[change.inode] = Inode()
                self._names[change.name] = change.inode
                self._renamed.setdefault(change.name, []).append(change.inode)
            case "unname":
                self._names.pop(change.name, None)
                self._renamed.setdefault(change.name, []).append(None)
            case "sync":
                self._inodes[change.inode].sync()
            case "lose":
                self._inodes[change.inode].pending.clear()
            case _:
                self._inodes[change.inode].change(change)
        if change.kind in ("sync", "unname") and change.number:
            self._synced_names = dict(self._names)
            self._renamed.clear()

    def kept(self) -> dict[str, bytes]:
        """Return what is there when a process is killed: all of it."""
        return {
            name: bytes(self._inodes[inode].seen) for name, inode in self._names.items()
        }

    def synced(self) -> dict[str, bytes]:
        """Return what is there when nothing is that was not synced."""
        return {
            name: bytes(self._inodes[inode].synced)
            for name, inode in self._synced_names.items()
        }

    def torn(self, chance: Random) -> dict[str, bytes]:
        """Return what is there when some of it reached the disk and some did not."""
        names: dict[str, int | None] = dict(self._synced_names)
        for name, inodes in self._renamed.items():
            names[name] = chance.choice([names.get(name), *inodes])
        return {
            name: self._inodes[inode].torn(chance)
            for name, inode in names.items()
            if inode is not None
        }


class Plan(NamedTuple):
    """Which fault, and when.

    Attributes:
        fault: What fails.
        at: How many things are asked before it does, at the next one that can.
        lasts: Whether it goes on from then.
    """

    fault: Fault
    at: int
    lasts: bool


class Disk:
    """Does what it is asked to, or fails by a plan.

    Attributes:
        asked: The kind of each thing that was asked so far.
        hits: How often it failed.
        changes: What happened to the files.
        is_counting: Whether what is asked is counted and may fail.
    """

    def __init__(self, folder: Path, plan: Plan | None = None) -> None:
        """Stand under the files of a folder."""
        self._folder = str(folder)
        self._inodes: dict[int, int] = {}
        self._named: dict[str, int] = {}
        self._syncs_folder: set[int] = set()
        self.plan = plan
        self.asked: list[str] = []
        self.hits = 0
        self.changes: list[Change] = []
        self.is_counting = False

    def __call__(self, io: Io) -> int:
        """Do what SQLite asks for, or fail."""
        folder, name = os.path.split(io.name)
        if folder != self._folder:
            return io.go()
        io = io._replace(name=name)
        fault = self._due(io.kind) if self.is_counting else None
        if fault is None:
            return self._do(io)
        self.hits += 1
        if fault.done:
            self._do(io)
        elif fault.half and io.kind == "write":
            half = io._replace(data=io.data[: len(io.data) // 2])
            self._do(half)
        elif fault.loses:
            self.changes.append(Change("lose", self._inodes[io.file]))
        return fault.codes[io.kind]

    def heal(self) -> None:
        """Fail no more."""
        self.plan = None

    def files(self) -> Files:
        """Return the files after all that happened to them."""
        files = Files()
        for change in self.changes:
            files.change(change)
        return files

    def _due(self, kind: str) -> Fault | None:
        """Count something in; return how it fails, if it does."""
        number = len(self.asked)
        self.asked.append(kind)
        plan = self.plan
        if plan is None or kind not in plan.fault.codes:
            return None
        due = number >= plan.at and (plan.lasts or not self.hits)
        return plan.fault if due else None

    def _do(self, io: Io) -> int:
        match io.kind:
            case "sync":
                # Nobody cuts the power of this machine: it costs its time for nothing.
                code = OK
            case "write":
                code = io.go(len(io.data))
            case _:
                code = io.go()
        if code == OK:
            self._note(io)
        return code

    def _note(self, io: Io) -> None:
        """Remember what happened."""
        match io.kind:
            case "open":
                self._note_open(io)
            case "close":
                self._inodes.pop(io.file)
                self._syncs_folder.discard(io.file)
            case "delete":
                self._named.pop(io.name)
                self.changes.append(Change("unname", -1, io.name, io.number))
            case "write" | "truncate":
                inode = self._inodes[io.file]
                self.changes.append(Change(io.kind, inode, "", io.number, io.data))
            case "sync":
                syncs_folder = io.file in self._syncs_folder
                self._syncs_folder.discard(io.file)
                inode = self._inodes[io.file]
                self.changes.append(Change("sync", inode, "", syncs_folder))

    def _note_open(self, io: Io) -> None:
        if io.name not in self._named:
            self._named[io.name] = len(self.changes)
            self.changes.append(Change("name", self._named[io.name], io.name))
        self._inodes[io.file] = self._named[io.name]
        if io.number & OPEN_CREATE and io.number & _SYNCS_FOLDER:
            self._syncs_folder.add(io.file)
