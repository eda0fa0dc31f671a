"""Makes the model and the programs of this folder importable by name."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

pytest.register_assert_rewrite(
    "comparing",
    "machine",
    "operator_actions",
    "pair",
    "processes",
    "store_checks",
    "tenure_checks",
    "worker_actions",
)


@pytest.fixture(scope="module")
def lasting_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """Name a store that is not there yet, for all tests of a module."""
    with ExitStack() as end:

        def make(kind: str) -> str:
            if kind == "file":
                return f"sqlite:///{tmp_path_factory.mktemp('store')}/ledger.db"
            server = request.getfixturevalue("postgres")
            url: str = server.name()
            end.callback(server.drop, url)
            return url

        yield make
