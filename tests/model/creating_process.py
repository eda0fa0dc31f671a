"""One of many processes that create the same executions: `creating_process.py URL N`.

All go through the same names in the same order, so that they meet at each. Prints, for
each case and name, the id that was answered, or `conflict`.
"""

from __future__ import annotations

import json
import random
import sys
import uuid
from contextlib import suppress
from typing import Any

from processes import begin_together

import leasehold

NAMES = 30
CONFLICT = "conflict"

Answer = str | list[str]


def an_id(case: int, name: int, creator: int = 0) -> uuid.UUID:
    """Give the id that all creators use for a name, or one of a creator's own."""
    return uuid.UUID(int=(case << 64) + (name << 32) + creator, version=4)


def same_id(name: int, _: int) -> dict[str, Any]:
    return {"execution_id": an_id(1, name), "payload": b"work"}


def same_id_otherwise(name: int, number: int) -> dict[str, Any]:
    return {"execution_id": an_id(2, name), "priority": number % 2}


def same_key(name: int, _: int) -> dict[str, Any]:
    return {"idempotency_key": f"same-{name}", "tags": {"a": "1"}}


def same_key_otherwise(name: int, number: int) -> dict[str, Any]:
    return {"idempotency_key": f"other-{name}", "priority": number % 2}


def own_id_under_one_key(name: int, number: int) -> dict[str, Any]:
    key = f"crossed-{name}"
    return {"idempotency_key": key, "execution_id": an_id(5, name, number + 1)}


def one_id_under_own_key(name: int, number: int) -> dict[str, Any]:
    key = f"crossed-{name}-{number}"
    return {"idempotency_key": key, "execution_id": an_id(6, name)}


CASES = (
    same_id,
    same_id_otherwise,
    same_key,
    same_key_otherwise,
    own_id_under_one_key,
    one_id_under_own_key,
)
BATCH = 5


def batch(name: int, number: int) -> list[dict[str, Any]]:
    """Give what all creators submit at once, each in an order of its own."""
    specs: list[dict[str, Any]] = [
        {"idempotency_key": f"batch-{name}-{it}"}
        if it % 2
        else {"execution_id": an_id(7, name, it)}
        for it in range(BATCH)
    ]
    random.Random(number).shuffle(specs)
    return specs


def batch_otherwise(name: int, number: int) -> list[dict[str, Any]]:
    """Give the same names for all, with other arguments for every second creator."""
    specs = [{"idempotency_key": f"either-{name}-{it}"} for it in range(BATCH)]
    random.Random(number).shuffle(specs)
    return [{**spec, "priority": number % 2} for spec in specs]


BATCHES = (batch, batch_otherwise)


def create(ledger: leasehold.Ledger, number: int) -> dict[str, list[Answer]]:
    """Create everything; give the answers, by the name of the case."""
    answers: dict[str, list[Answer]] = {}
    for name in range(NAMES):
        for case in CASES:
            answer: Answer = CONFLICT
            with suppress(leasehold.ConflictError):
                answer = str(ledger.create_execution(**case(name, number)))
            answers.setdefault(case.__name__, []).append(answer)
        for many in BATCHES:
            answer = CONFLICT
            with suppress(leasehold.ConflictError):
                ids = ledger.create_executions(many(name, number))
                answer = sorted(map(str, ids))
            answers.setdefault(many.__name__, []).append(answer)
    return answers


def main() -> None:
    """Open the store, create, print."""
    url, number = sys.argv[1], int(sys.argv[2])
    with leasehold.open(url, durability="normal") as ledger:
        begin_together()
        answers = create(ledger, number)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
