"""Makes the modules of this folder importable, and a page to look at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demonstration import Shown


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Give the demonstration's store, open to read, and its page."""
    from demonstration import show

    with show(tmp_path_factory.mktemp("demonstration")) as shown:
        yield shown


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Give a store of ten thousand tenures and its page."""
    from many import show_many

    with show_many(tmp_path_factory.mktemp("many")) as shown:
        yield shown
