"""SQLite and the power: what was not synced is lost, or a part of it.

`LEASEHOLD_FAULTS_EVERY=1` cuts the power after every change of a file, `=10` after
every tenth; without it after some, and after each answer. Run it with `-s` to see the
table.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from cutting import cuts
from disks import FAULTS, Plan
from enduring import LAST, Run
from enduring import refer as refer_in

import leasehold
from leasehold.adapters.sqlite import connecting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cutting import Cut

EVERY = int(os.environ.get("LEASEHOLD_FAULTS_EVERY", "0"))
STRIDE = EVERY or 29
TORN = 3 if EVERY else 1

DAMAGE = (leasehold.StoreError, sqlite3.DatabaseError, AssertionError)
"""How it is told: by the ledger that opens it, or by the check of integrity."""

LOSES = next(fault for fault in FAULTS if fault.loses)


def steps_that_left(digest, reference) -> list[int]:
    """Tell after which steps the store is like that."""
    return [n for n, known in enumerate(reference.digests) if known == digest]


def places(changes, made, stride=STRIDE) -> set[int]:
    """Choose after which changes to cut."""
    return {*range(stride, len(changes) + 1, stride), *(at for at, _ in made)}


def answered_after(reference) -> list[tuple[int, int]]:
    """Say after which change which step was answered."""
    return [(at, number) for number, at in enumerate(reference.changed_until)]


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_power_loss_undoes_no_more_than_was_said_and_no_call_by_half(
    durability, refer, rows
) -> None:
    reference = refer(durability)
    made = answered_after(reference)
    lost: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for cut in cuts(reference.changes, made, places(reference.changes, made), TORN):
        left_by = steps_that_left(reference.opener.digest_of(cut.files), reference)
        # Before the first answer there may be nothing; what opens it makes it then.
        answered = max(0, cut.answered)
        keeps = durability == "full" or cut.kind == "kept"
        allowed = range(answered if keeps else 0, cut.answered + 2)
        assert set(left_by) & set(allowed), f"{cut.kind} at {cut.at}"
        count[cut.kind] += 1
        lost[cut.kind] += max(left_by) < answered
    for kind in count:
        rows.append((f"power cut, {kind}", durability, count[kind], lost[kind]))
    # Where nothing were lost at `normal` either, this would prove nothing.
    assert (sum(lost.values()) > 0) == (durability == "normal")


def test_a_store_that_does_not_sync_is_found_out(refer, tmp_path, monkeypatch) -> None:
    set_up = connecting.set_up

    def set_up_carelessly(driver, target) -> None:
        set_up(driver, target)
        driver.execute("PRAGMA synchronous = OFF")

    refer("full")  # Before the ledger of these tests forgets to sync.
    monkeypatch.setattr(connecting, "set_up", set_up_carelessly)
    careless = refer_in(tmp_path, "full")
    monkeypatch.undo()
    made = answered_after(careless)
    damaged = lost = 0
    for cut in cuts(careless.changes, made, places(careless.changes, made), 1):
        try:
            digest = careless.opener.digest_of(cut.files)
        except DAMAGE:
            damaged += 1
        else:
            lost += cut.answered not in steps_that_left(digest, careless)
    assert damaged
    assert lost


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_power_loss_after_a_sync_that_failed_and_lost_data(
    durability, refer, tmp_path, rows
) -> None:
    """At `full` no answered call is lost; at `normal` the file may be damaged.

    A checkpoint there syncs again, takes the disk's word, and writes over the database
    what is not sure to be in the log. What is damaged so does not pass SQLite's own
    check of integrity.
    """
    reference = refer(durability)
    syncs = [n for n, kind in enumerate(reference.asked) if kind == "sync"]
    # The last step is a refusal, which is answered also where it is not recorded.
    syncs = [n for n in syncs if n < reference.asked_until[LAST - 1]]
    count: Counter[str] = Counter()
    for at in syncs[:: EVERY or 9]:
        run = Run(tmp_path / str(at), durability, Plan(LOSES, at, False), reference)
        run.endure()
        for cut in cuts_after_the_loss(run):
            try:
                digest = reference.opener.digest_of(cut.files)
            except DAMAGE:
                assert durability == "normal", f"{cut.kind} at {cut.at}, sync {at}"
                count["damaged"] += 1
                continue
            least = max(0, cut.answered) if durability == "full" else 0
            allowed = {*range(least, cut.answered + 2)}
            left_by = steps_that_left(digest, reference)
            assert allowed & {*left_by}, f"{cut.kind} at {cut.at}, sync {at}"
            count["cuts"] += 1
            count["lost"] += max(left_by) < cut.answered
    told = (count["cuts"] + count["damaged"], count["lost"], count["damaged"])
    rows.append(("a sync fails and loses, then power cut", durability, *told))


def cuts_after_the_loss(run) -> Iterator[Cut]:
    """Cut the power at some places after a sync has failed."""
    changes = run.disk.changes
    begin = next(n for n, change in enumerate(changes) if change.kind == "lose")
    chosen = {n for n in places(changes, run.made, STRIDE * 9) if n > begin}
    return cuts(changes, run.made, chosen, 1)
