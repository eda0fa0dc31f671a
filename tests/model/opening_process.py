"""One of many processes that open a new store: `opening_process.py URL`.

Prints the id of the execution that it created.
"""

from __future__ import annotations

import json
import sys

from processes import begin_together

import leasehold


def main() -> None:
    """Open the store when all are ready, create, print."""
    begin_together()
    with leasehold.open(sys.argv[1]) as ledger:
        execution_id = ledger.create_execution()
    print(json.dumps(str(execution_id)))


if __name__ == "__main__":
    main()
