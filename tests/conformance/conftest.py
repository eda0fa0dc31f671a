"""Makes the story and the histories of other folders importable; tells the story."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from holding_time import HandTime
    from outsiders import Rows

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "golden", HERE.parent / "model"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture
def told(ledger: leasehold.Ledger, clock: Callable[[], int]) -> leasehold.Ledger:
    """Give the store in turn with a story in which every event happens."""
    from golden_story import tell_story

    tell_story(ledger, clock)
    return ledger


@pytest.fixture
def shared(shared_url: str, clock: Callable[[], int]) -> Iterator[leasehold.Ledger]:
    """Give a store that others can get at, with the same story."""
    from golden_story import tell_story

    with leasehold.open(shared_url, clock=clock, durability="normal") as ledger:
        tell_story(ledger, clock)
        yield ledger


@pytest.fixture
def another(another_url: str, clock: Callable[[], int]) -> Iterator[leasehold.Ledger]:
    """Give a second store of the same kind, which is empty."""
    with leasehold.open(another_url, clock=clock, durability="normal") as ledger:
        yield ledger


@pytest.fixture
def fresh() -> Iterator[Callable[..., leasehold.Ledger]]:
    """Open private stores that are empty: `fresh(clock=…)`."""
    opened: list[leasehold.Ledger] = []

    def make(**options: object) -> leasehold.Ledger:
        opened.append(leasehold.open("sqlite://", **options))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def hand_time(ledger: leasehold.Ledger) -> HandTime:
    """Move the time of the leases that are held by hand."""
    from holding_time import HandTime

    return HandTime(ledger._keeper)


@pytest.fixture
def refusals(
    lease_rows: Callable[[UUID], Rows],
) -> Callable[[leasehold.Handle], list[str]]:
    """Read which operations of an execution were refused, in log order."""

    def read(handle: leasehold.Handle) -> list[str]:
        rows = lease_rows(handle.execution_id)
        return [row["operation"] for row in rows if row["event_type"] == "refused"]

    return read
