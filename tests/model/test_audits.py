"""Random good histories: an audit finds no error, and the tenures of the table."""

from __future__ import annotations

import os
import random
import sqlite3
import tracemalloc
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from histories import History, seeded_draws
from stores import NewStore, in_a_file, in_a_schema, in_memory

import leasehold
from leasehold import Severity, TenureRow
from leasehold.adapters import auditing, walking
from leasehold.adapters.guarding import REFUSAL_COUNTS
from leasehold.domain.auditing import ExecutionAudit

if TYPE_CHECKING:
    from ledger_schemas import LedgerSchemas

SEEDS = int(os.environ.get("LEASEHOLD_AUDIT_HISTORIES", "25"))
STEPS = 200


@pytest.fixture(params=["memory", "file", "postgres"])
def new_store(request: pytest.FixtureRequest) -> NewStore:
    """Open each kind of store in turn."""
    if request.param == "postgres":
        schemas: LedgerSchemas = request.getfixturevalue("postgres")
        return lambda clock: in_a_schema(schemas, clock)
    return {"memory": in_memory, "file": in_a_file}[request.param]


def happen(ledger: leasehold.Ledger, history: History, seed: int) -> None:
    """Let a history happen; its clock is not behind what is recorded at the end."""
    REFUSAL_COUNTS.forget()  # It is kept for the process, and the leases are the same.
    behind: Any = ledger._store
    history.make(leasehold.Ledger(behind, seeded_draws(seed)), STEPS)
    log = ledger.read.events(limit=100_000)
    history.now_ms = max(history.now_ms, *(it.recorded_at_ms for it in log))


def errors_of(report: leasehold.AuditReport) -> list[leasehold.AuditFinding]:
    return [it for it in report.findings if it.severity is Severity.ERROR]


def folded(ledger: leasehold.Ledger, now_ms: int) -> list[TenureRow]:
    """Work the tenures out from the events."""
    found: list[TenureRow] = []
    events = ledger.read.events(limit=100_000)
    for execution_id in {it.event.execution_id for it in events}:
        audited = ExecutionAudit(execution_id, lambda _: None)
        for it in ledger.read.history(execution_id):
            audited.take(it.event, it.position)
        audited.finish(now_ms)
        for tenure in audited.state.tenures:
            told = {
                "event_id": tenure.position,
                "ended_at_ms": tenure.ended_at_ms(now_ms=now_ms),
                "ended_by": tenure.ended_by(now_ms=now_ms),
                "orphaned_ms": tenure.orphaned_ms(now_ms=now_ms),
            }
            names = [it.name for it in fields(TenureRow)]
            found.append(
                TenureRow(
                    **{
                        name: told[name] if name in told else getattr(tenure, name)
                        for name in names
                    }
                )
            )
    return sorted(found, key=lambda it: it.event_id)


@pytest.mark.parametrize("seed", range(min(SEEDS, 5)))
def test_a_good_history_has_no_error_on_any_store(seed, new_store) -> None:
    history = History(seed)
    with new_store(history.clock) as store:
        happen(store.ledger, history, seed)
        report = store.ledger.audit()
        assert errors_of(report) == []
        assert folded(store.ledger, history.now_ms) == store.ledger.read.tenures(
            limit=100_000
        )
        figures = report.figures
        rows = store.ledger.read.tenures(limit=100_000)
        assert figures.tenures == len(rows)
        assert figures.renewals == sum(it.renewals for it in rows)
        assert figures.orphaned_ms == sum(it.orphaned_ms or 0 for it in rows)


def test_good_histories_have_no_error() -> None:
    for seed in range(SEEDS):
        history = History(seed)
        with leasehold.open("sqlite://", clock=history.clock) as ledger:
            happen(ledger, history, seed)
            report = ledger.audit(rows=seed % 10 == 0)
            assert errors_of(report) == [], seed
            there = ledger.read.tenures(limit=100_000)
            assert folded(ledger, history.now_ms) == there, seed


def test_an_execution_too_long_to_be_held_is_audited_the_same(monkeypatch) -> None:
    history = History(3)
    with leasehold.open("sqlite://", clock=history.clock) as ledger:
        happen(ledger, history, 3)
        plain = ledger.audit(rows=False)
        longest = max(len(ledger.read.history(it)) for it in history.ids)
        assert longest > 10
        for held in (1, 7, longest - 1):
            monkeypatch.setattr(auditing, "HELD_MAX", held)
            for page in (1, 3, 1_000):
                monkeypatch.setattr(auditing, "PAGE", page)
                assert ledger.audit(rows=False) == plain


@pytest.mark.parametrize(("page", "first"), [(1_000, 0), (1, 1)])
def test_damage_of_any_kind_is_reported_and_not_raised(
    page, first, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(auditing, "PAGE", page)
    monkeypatch.setattr(walking, "PAGE", page)
    monkeypatch.setattr(auditing, "HELD_MAX", 10)
    chance = random.Random(page)
    history = History(4)
    path = tmp_path / "ledger.db"
    with leasehold.open(f"sqlite:///{path}", clock=history.clock) as ledger:
        happen(ledger, history, 4)
        plain = ledger.audit()
        outsider = sqlite3.connect(path, isolation_level=None)
        outsider.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in outsider.execute(
            "SELECT name FROM sqlite_master"
            " WHERE type = 'trigger' AND tbl_name = 'stored_events'"
        ).fetchall():
            outsider.execute(f"DROP TRIGGER {name}")
        columns = ("originator_id", "originator_version", "topic", "state")
        rows = outsider.execute(
            f"SELECT notification_id, {', '.join(columns)} FROM stored_events"
        ).fetchall()
        for round_number in range(100):
            position, *values = chance.choice(rows)
            column = chance.randrange(first, 4)
            other = damaged(chance, values[column])
            statement = (
                f"UPDATE stored_events SET {columns[column]} = {{}}"
                f" WHERE notification_id = {position}"
            )
            is_text = column in {0, 2}
            what = "CAST(? AS TEXT)" if is_text else "?"
            outsider.execute(statement.format(what), [other])
            report = ledger.audit(rows=round_number % 3 == 0)
            assert report.ok is False, (position, columns[column], other)
            outsider.execute(statement.format("?"), [values[column]])
        outsider.close()
        assert ledger.audit() == plain


def damaged(chance: random.Random, value: Any) -> Any:
    """Return something else than a value of the log."""
    if isinstance(value, int):
        return chance.choice([value + 1_000, -value, 0, "no number", 2**62])
    if isinstance(value, str):
        value = value.encode()
        index = chance.randrange(len(value))
        other = bytes([value[index] ^ chance.choice([1, 2, 128])])
        return value[:index] + other + value[index + 1 :]
    index = chance.randrange(len(value))
    return chance.choice(
        [
            value[:index]
            + bytes([value[index] ^ chance.randrange(1, 256)])
            + value[index + 1 :],
            value[:index],
            value + b"}",
            b"",
            "text",
            7,
        ]
    )


def test_memory_does_not_grow_with_the_events_of_an_execution(monkeypatch) -> None:
    monkeypatch.setattr(auditing, "HELD_MAX", 100)
    monkeypatch.setattr(auditing, "PAGE", 50)
    monkeypatch.setattr(walking, "PAGE", 50)
    peaks = []
    with leasehold.open("sqlite://", clock=lambda: 1_700_000_000_000) as ledger:
        ledger.create_execution()
        handle = ledger.claim(worker_id="w", lease_ttl_ms=86_400_000)
        assert handle is not None
        for renewals in (300, 2_700):
            for _ in range(renewals):
                ledger.renew(handle)
            ledger.audit(rows=False)
            tracemalloc.start()
            ledger.audit(rows=False)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
