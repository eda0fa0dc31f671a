"""Makes the story and the histories of other folders importable; tells the story."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
