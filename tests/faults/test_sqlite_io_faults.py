"""SQLite on a disk that fails, at every place of a work in turn.

`LEASEHOLD_FAULTS_EVERY=1` tries all places, `=10` every tenth; without it a few of each
fault are tried, and all syncs. Run it with `-s` to see the table.
"""

from __future__ import annotations

import os

import pytest
from disks import FAULTS, Plan
from enduring import Run

EVERY = int(os.environ.get("LEASEHOLD_FAULTS_EVERY", "0"))
FEW = 4

SYNC_FAILS = next(fault for fault in FAULTS if fault.name == "a sync fails")


def places(reference, fault) -> list[int]:
    """Choose where to fail: at all that can, at every so manieth, at some."""
    every = [n for n, kind in enumerate(reference.asked) if kind in fault.codes]
    if EVERY:
        return every[::EVERY]
    return [every[(2 * n + 1) * len(every) // (2 * FEW)] for n in range(FEW)]


def check(fault, lasts, at, reference, tmp_path, rows) -> None:
    """Fail at each of some places in a run of its own."""
    seen = [
        Run(tmp_path / str(n), "full", Plan(fault, n, lasts), reference).endure()
        for n in at
    ]
    assert all(one.hits for one in seen), "not every fault was met"
    refused = sum(one.refused for one in seen)
    done = sum(one.done is True for one in seen)
    codes = ", ".join(sorted(set().union(*(one.codes for one in seen))))
    how = "from then on" if lasts else "once"
    hits = sum(one.hits for one in seen)
    rows.append((fault.name, how, len(seen), hits, refused, codes, done))


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_is_refused_did_not_happen_and_happens_when_the_disk_is_well(
    fault, lasts, refer, tmp_path, rows
) -> None:
    reference = refer("full")
    at = dict.fromkeys(places(reference, fault))
    check(fault, lasts, at, reference, tmp_path, rows)


def test_a_failed_sync_at_every_place_refuses_and_is_got_over(
    refer, tmp_path, rows
) -> None:
    reference = refer("full")
    at = [n for n, kind in enumerate(reference.asked) if kind == "sync"]
    check(SYNC_FAILS, False, at, reference, tmp_path, rows)
