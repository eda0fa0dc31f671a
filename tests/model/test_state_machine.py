"""Every operation, in any order, under a clock that jumps, against the model.

In CI a fixed few sequences, always the same. `LEASEHOLD_MODEL_EXAMPLES=5000` tries that
many, new ones in every run.
"""

from __future__ import annotations

import os
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import LedgerMachine
from stores import NewStore, in_a_file, in_a_schema, in_memory

EXAMPLES = os.environ.get("LEASEHOLD_MODEL_EXAMPLES")
EXAMPLES_IN_CI = {"memory": 100, "file": 30, "postgres": 25}


@pytest.fixture(params=sorted(EXAMPLES_IN_CI))
def store(request: pytest.FixtureRequest) -> str:
    """Name each kind of store in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def new_store_of_kind(store: str, request: pytest.FixtureRequest) -> NewStore:
    """Open a new store of the kind in turn, as often as asked."""
    if store == "postgres":
        return partial(in_a_schema, request.getfixturevalue("postgres"))
    return {"memory": in_memory, "file": in_a_file}[store]


def test_the_ledger_does_as_the_model_does(
    store: str, new_store_of_kind: NewStore
) -> None:
    as_attribute = {"new_store": staticmethod(new_store_of_kind)}
    machine = type("Machine", (LedgerMachine,), as_attribute)
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
