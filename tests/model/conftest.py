"""Makes the model and the programs of this folder importable by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

pytest.register_assert_rewrite(
    "comparing", "machine", "operator_actions", "pair", "store_checks", "worker_actions"
)
