"""Makes the disks and the work of this folder importable by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from enduring import Reference

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

pytest.register_assert_rewrite("cutting", "enduring", "scripted_work")


@pytest.fixture(scope="module")
def small_work() -> Iterator[None]:
    """Have little work do what takes much; skip where SQLite is out of reach."""
    from scripted_work import make_small
    from sqlite_vfs import OUT_OF_REACH, library

    if library() is None:
        pytest.skip(OUT_OF_REACH)
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_small(monkeypatch)
        yield


@pytest.fixture(scope="session")
def referred() -> dict[str, Reference]:
    """Keep the runs in which nothing failed, by durability."""
    return {}


@pytest.fixture(scope="module")
def refer(
    small_work: None,
    referred: dict[str, Reference],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Reference]:
    """Give the run in which nothing failed, at a durability."""
    from enduring import refer as refer_in

    def give(durability: str) -> Reference:
        if durability not in referred:
            folder = tmp_path_factory.mktemp("refer")
            referred[durability] = refer_in(folder, durability)
        return referred[durability]

    return give


@pytest.fixture(scope="module")
def rows() -> Iterator[list[tuple[object, ...]]]:
    """Collect what was seen, and print it as the rows of a table (`-s`)."""
    collected: list[tuple[object, ...]] = []
    yield collected
    print()
    for row in collected:
        print("|", " | ".join(map(str, row)), "|")
