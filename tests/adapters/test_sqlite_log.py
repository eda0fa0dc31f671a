"""The log in SQLite: what would get past a trigger elsewhere is refused too."""

from contextlib import closing

import pytest
from outsiders import CHANGES_IN_SQLITE, FileOutsider

import leasehold

WHOLE = "SELECT * FROM stored_events ORDER BY notification_id"


@pytest.mark.parametrize("recursive_triggers", [0, 1])
@pytest.mark.parametrize("case", [*CHANGES_IN_SQLITE, "delete"])
def test_a_stored_event_cannot_be_changed(case, recursive_triggers, file_url) -> None:
    change = CHANGES_IN_SQLITE.get(case, "DELETE FROM stored_events")
    with leasehold.open(file_url) as ledger:
        ledger.create_execution()
        ledger.complete(ledger.claim(worker_id="w"))
    with closing(FileOutsider(file_url)) as outsider:
        outsider.execute(f"PRAGMA recursive_triggers = {recursive_triggers}")
        before = outsider.execute(WHOLE)
        assert len(before) == 5
        with pytest.raises(outsider.REFUSALS):
            outsider.execute(change)
        assert outsider.execute(WHOLE) == before
