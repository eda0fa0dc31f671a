"""Every operation, in any order, under a clock that jumps, against the model.

In CI a fixed few sequences, always the same. `LEASEHOLD_MODEL_EXAMPLES=5000` tries that
many, new ones in every run.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import LedgerMachine

EXAMPLES = os.environ.get("LEASEHOLD_MODEL_EXAMPLES")
EXAMPLES_IN_CI = {"memory": 150, "file": 50}


@pytest.mark.parametrize("store", ["memory", "file"])
def test_the_ledger_does_as_the_model_does(store: str) -> None:
    machine = type("Machine", (LedgerMachine,), {"on_file": store == "file"})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(EXAMPLES or EXAMPLES_IN_CI[store]),
            stateful_step_count=60,
            derandomize=EXAMPLES is None,
            database=None,
            deadline=None,
            print_blob=EXAMPLES is not None,
            suppress_health_check=list(HealthCheck),
        ),
    )
