"""How the live figures are kept: commits that fail, forks, and what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from outsiders import outsider_of

import leasehold

REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'refused at the commit'; END $$
"""
AT_THE_COMMIT = """
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON attempt
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()
"""


def test_a_commit_that_fails_counts_as_an_error_alone(new_store, clock) -> None:
    url = new_store("postgres")
    with leasehold.open(url, clock=clock) as ledger:
        ledger.create_execution()
        outsider = outsider_of(url)
        for statement in (REFUSING, AT_THE_COMMIT):
            outsider.execute(statement)
        outsider.close()
        with pytest.raises(leasehold.StoreError, match="refused at the commit"):
            ledger.claim(worker_id="w")
        metrics = ledger.metrics()
        assert set(metrics.claims.values()) == {0}
        assert metrics.empty_claims == 0
        assert metrics.commit_time.count == 1
        assert metrics.errors == {"store_unavailable": 1}


FORKING = """
import os, threading
import leasehold

ledger = leasehold.open("sqlite://")
ledger.create_execution()
held, done = threading.Event(), threading.Event()

def hold():
    with ledger._meter._lock:
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    print(ledger.metrics(ask_store=False).creations, flush=True)
    os._exit(0)
done.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["1", "0"]


def test_a_call_does_not_wait_for_who_takes_the_figures(sqlite_url) -> None:
    with leasehold.open(sqlite_url, durability="normal") as ledger:
        held, done = threading.Event(), threading.Event()

        def hold():
            with ledger._meter._lock:
                held.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        for _ in range(150):
            ledger.claim(worker_id="w")
        assert len(ledger._meter.ended) == 150
        done.set()
        thread.join()
        assert ledger.metrics().empty_claims == 150


def test_a_signal_handler_may_ask_for_the_figures(sqlite_url) -> None:
    with leasehold.open(sqlite_url, durability="normal") as ledger:
        ledger.create_execution()
        with ledger._meter._lock:  # As in the midst of a count.
            assert ledger.metrics().creations == 1
