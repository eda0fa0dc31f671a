"""Calls on a ledger behind a proxy, prepared so that a fault can come in each.

To those of `every_call` come the ones that take more to prepare: claims of what has
come due, imports, rebuilding, a caller's own projection.
"""

from __future__ import annotations

import io
import os
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import every_call
import psycopg
from outsiders import outsider_of, with_schema, without_schema

import leasehold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy import Proxy

    Make = Callable[[], Any]

WAIT_S_MAX = 60.0
PAUSE_S = 0.01
USES_MAX = 20
LATELY = 20
TABLE = "CREATE TABLE IF NOT EXISTS seen (position BIGINT PRIMARY KEY)"


def until_it_answers(call: Make) -> Any:
    """Repeat a call while the server is away."""
    give_up_at = time.monotonic() + WAIT_S_MAX
    while True:
        try:
            return call()
        except (leasehold.StoreError, psycopg.OperationalError) as error:
            is_passing = getattr(error, "retryable", True)
            if not is_passing or time.monotonic() > give_up_at:
                raise
        time.sleep(PAUSE_S)


class Stage:
    """A ledger behind a proxy, and a clock that only the calls move."""

    def __init__(self, url: str, proxy: Proxy, clock: Any) -> None:
        self.url = url
        self.proxy = proxy
        self.clock = clock
        self.ledger = self.open(proxy.url())
        self._aside: dict[str, tuple[str, leasehold.Ledger]] = {}
        self._uses: Counter[str] = Counter()

    def open(self, url: str) -> leasehold.Ledger:
        """Open a ledger that loses nothing of what it acknowledged at a crash."""
        return leasehold.open(url, clock=self.clock)

    def aside(self, name: str) -> tuple[str, leasehold.Ledger]:
        """Open another ledger, in a schema of its own; give its direct url, too.

        It is made anew after some uses: what walks the whole log is to be short.
        """
        server, schema = without_schema(self.url)
        self._uses[name] += 1
        if name in self._aside and self._uses[name] % USES_MAX == 0:
            self.drop(name)
        if name not in self._aside:
            url = self.proxy.url(schema=f"{schema}_{name}")
            self._aside[name] = with_schema(server, f"{schema}_{name}"), self.open(url)
        return self._aside[name]

    def drop(self, name: str) -> None:
        """Drop what was made aside under a name."""
        _, ledger = self._aside.pop(name)
        ledger.close()
        with closing(outsider_of(self.url)) as outsider:
            _, schema = without_schema(self.url)
            outsider.execute(f"DROP SCHEMA IF EXISTS {schema}_{name} CASCADE")

    def hang_up(self, *, anew: bool) -> None:
        """Break all connections, if the next call is to make a new one."""
        if anew:
            for wire in self.proxy.wires[-LATELY:]:
                wire.close()

    def wait_for_the_dying(self) -> None:
        """Wait until the server has ended the transactions of clients that are gone.

        Until then a claim passes over what they hold.
        """
        pids = ",".join(str(wire.pid) for wire in self.proxy.wires[-LATELY:])
        give_up_at = time.monotonic() + WAIT_S_MAX
        with closing(until_it_answers(lambda: outsider_of(self.url))) as outsider:
            while outsider.execute(
                f"SELECT FROM pg_stat_activity WHERE pid IN ({pids})"
                " AND xact_start IS NOT NULL"
            ):
                assert time.monotonic() < give_up_at
                time.sleep(PAUSE_S)

    def close(self) -> None:
        """Close the ledger, and drop what was made aside."""
        self.ledger.close()
        for name in tuple(self._aside):
            self.drop(name)


@contextmanager
def stage(url: str, proxy: Proxy, clock: Any) -> Iterator[Stage]:
    """Set a stage for a block."""
    leasehold.open(url).close()
    with closing(Stage(url, proxy, clock)) as opened:
        yield opened


@dataclass(frozen=True)
class Prepared:
    """A call that is ready: on which ledger, what holds after it, how to end it."""

    ledger: leasehold.Ledger
    make: Make
    holds: Callable[[], bool] = lambda: True
    end: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Operation:
    """What is called, and what the contract says of it.

    Attributes:
        prepare: Makes a call ready.
        may_be_unknown: Whether nobody can tell what became of a lost end.
        is_repeatable: Whether another call with the same arguments changes nothing.
        is_refused: Whether the answer is a refusal, recorded if that can be done.
    """

    name: str
    prepare: Callable[[Stage], Prepared]
    may_be_unknown: bool = False
    is_repeatable: bool = False
    is_refused: bool = False


def of_every_call(prepare: Any, **facts: bool) -> Operation:
    """Take over a call of another module."""
    return Operation(
        prepare.__name__,
        lambda stage: Prepared(stage.ledger, prepare(stage.ledger, stage.clock)),
        **facts,
    )


def claim_much_that_is_due(stage: Stage) -> Prepared:
    """Claim where deadlines, delays and leases have come due."""
    ledger, now_ms = stage.ledger, stage.clock()
    every_call.worked(ledger, ttl=1_000)
    ledger.create_executions(
        [{"deadline_at_ms": now_ms + 1_000}, {"delay_until_ms": now_ms + 1_000}]
    )
    stage.clock.advance(2_000)
    return Prepared(ledger, lambda: ledger.claim(worker_id="w2"))


def claim_past_the_cap(stage: Stage) -> Prepared:
    """Claim where a take-over too many fails the one, and take the other."""
    ledger = stage.ledger
    ledger.create_execution(max_reclaim_count=0, priority=9)
    ledger.claim(worker_id="w", lease_ttl_ms=1_000)
    ledger.create_execution()
    stage.clock.advance(2_000)
    return Prepared(ledger, lambda: ledger.claim(worker_id="w2"))


def several(ledger: leasehold.Ledger) -> list[leasehold.Handle]:
    """Create three executions and claim two of them."""
    ledger.create_executions([{}] * 3)
    return ledger.claim_many(2, worker_id="w")


def claim_many(stage: Stage) -> Prepared:
    """Claim several at once."""
    stage.ledger.create_executions([{}] * 3)
    return Prepared(stage.ledger, lambda: stage.ledger.claim_many(2, worker_id="w"))


def renew_many(stage: Stage) -> Prepared:
    """Renew several at once."""
    ledger, handles = stage.ledger, several(stage.ledger)
    stage.clock.advance(1_000)
    return Prepared(ledger, lambda: ledger.renew_many(handles))


def complete_many(stage: Stage) -> Prepared:
    """Complete several at once."""
    ledger, pairs = stage.ledger, [(it, b"x") for it in several(stage.ledger)]
    return Prepared(ledger, lambda: ledger.complete_many(pairs))


def bundle(*, large: bool = False) -> bytes:
    """Export a ledger with one execution that was worked on."""
    with leasehold.open("sqlite://") as elsewhere:
        elsewhere.create_execution(payload=os.urandom(50_000 if large else 5))
        elsewhere.complete(elsewhere.claim(worker_id="w"), b"done")
        return every_call.bundled(elsewhere)


def import_into_many(stage: Stage) -> Prepared:
    """Import into a store that has executions."""
    ledger, taken = stage.ledger, bundle()
    return Prepared(ledger, lambda: ledger.import_bundle(io.BytesIO(taken)))


def import_into_none(stage: Stage) -> Prepared:
    """Import into an empty store, where positions are kept."""
    (_, ledger), taken = stage.aside("none"), bundle(large=True)

    def end() -> None:
        assert ledger.verify().ok
        stage.drop("none")

    return Prepared(ledger, lambda: ledger.import_bundle(io.BytesIO(taken)), end=end)


def rebuild(stage: Stage) -> Prepared:
    """Put rows right that somebody changed, removed and added."""
    url, ledger = stage.aside("damaged")
    changed, emptied = (every_call.worked(ledger).execution_id for _ in range(2))
    with closing(outsider_of(url)) as outsider:
        # What is changed here is to outlive a crash, too.
        outsider.execute("SET synchronous_commit = on")
        outsider.execute(
            "UPDATE exec_state SET priority = 7 WHERE execution_id = ?", str(changed)
        )
        outsider.execute("DELETE FROM attempt WHERE execution_id = ?", str(emptied))
    return Prepared(ledger, ledger.rebuild, lambda: ledger.verify().ok)


class Seen:
    """A caller's own projection: each position once."""

    def create(self, execute: Any) -> None:
        """Make the table."""
        execute(TABLE)

    def apply(self, recorded: Any, execute: Any) -> None:
        """Add a row, which must not be there."""
        execute("INSERT INTO seen VALUES (%s)", recorded.position)


def run_projection(stage: Stage) -> Prepared:
    """Take events into a caller's own table."""
    url, ledger = stage.aside("projected")
    every_call.worked(ledger)
    running = ledger.run_projection(Seen(), "seen")
    ledger.create_execution()

    def holds() -> bool:
        with closing(outsider_of(url)) as outsider:
            rows = outsider.execute("SELECT position FROM seen ORDER BY position")
        stored = [event.position for event in ledger.read.events()]
        return [row["position"] for row in rows] == stored

    return Prepared(ledger, running.catch_up, holds)


REPEATABLE = (
    every_call.create_keyed,
    every_call.complete,
    every_call.fail_for_good,
    every_call.fail_to_retry,
    every_call.cancel,
)
OPERATIONS = (
    *(of_every_call(it, is_repeatable=it in REPEATABLE) for it in every_call.CALLS),
    of_every_call(every_call.best_effort, may_be_unknown=True),
    of_every_call(every_call.refuse, is_refused=True),
    Operation("claim_much_that_is_due", claim_much_that_is_due),
    Operation("claim_past_the_cap", claim_past_the_cap),
    Operation("claim_many", claim_many),
    Operation("renew_many", renew_many),
    Operation("complete_many", complete_many, is_repeatable=True),
    Operation("import_into_many", import_into_many),
    Operation("import_into_none", import_into_none),
    Operation("rebuild", rebuild, may_be_unknown=True, is_repeatable=True),
    Operation("run_projection", run_projection, may_be_unknown=True),
)
