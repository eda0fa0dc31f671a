"""A store of the first version, through all that a later version may bring.

`stores/first_version.db.gz` is an SQLite file that the first version of the project
wrote (schema 1, projections 1): the story of `golden_story`, and two executions beyond
it, one of them running. What evolves here is made up and undone after each test.
"""

import gzip
import io
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from golden_files import HERE, rows_of

import leasehold
from leasehold import StoreError
from leasehold.adapters import bundles, codec
from leasehold.domain import catalogue, executions
from leasehold.domain.executions import ExecutionCreated, ExecutionReprioritised
from leasehold.projections import registry
from leasehold.projections.changes import Changes, Place

FIRST = HERE / "stores" / "first_version.db.gz"
FILE_BYTES_MAX = 100 * 1024
EVENTS = 80
EXECUTIONS = 11
LATER_MS = 1_700_000_000_000 + 86_400_000


def later() -> int:
    """Return a time after all that the store tells of."""
    return LATER_MS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Put the store of the first version into a file."""
    file = tmp_path / "first_version.db"
    with gzip.open(FIRST) as kept, file.open("wb") as target:
        shutil.copyfileobj(kept, target)
    return file


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def ledger(url: str) -> Iterator[leasehold.Ledger]:
    with leasehold.open(url, clock=later) as opened:
        yield opened


def exported(ledger: leasehold.Ledger) -> bytes:
    target = io.BytesIO()
    ledger.export(target)
    return target.getvalue()


def work(ledger: leasehold.Ledger) -> None:
    """Go on with what the first version left, and begin something new."""
    for worker in ("worker-10", "worker-11"):
        handle = ledger.claim(
            "open",
            capabilities=["cpu", "gpu/a100", "größe"],
            worker_id=worker,
        )
        assert handle is not None
        ledger.renew(handle)
        ledger.complete(handle, b"done at last")
    again = ledger.create_execution(
        lane_id="open", idempotency_key="open/2", payload=b"waits"
    )
    assert ledger.read.execution(again).public_state == "completed"
    ended = ledger.read.executions("mails")[0]
    ledger.replay_execution(ended.execution_id, actor="ann", reason="again")
    ledger.change_priority(ended.execution_id, 7, actor="ann")


def test_the_store_is_small() -> None:
    assert FIRST.stat().st_size < FILE_BYTES_MAX


def test_it_opens_verifies_and_reads(ledger: leasehold.Ledger) -> None:
    report = ledger.verify()
    assert report.ok, report
    assert (report.events, report.executions) == (EVENTS, EXECUTIONS)
    assert [event.position for event in ledger.read.events()] == list(range(1, 81))
    for row in ledger.read.executions():
        history = ledger.read.history(row.execution_id)
        assert history[0].topic == "execution.created"
        assert ledger.read.attempts(row.execution_id) is not None
    (running,) = [e for e in ledger.read.executions("open") if e.payload != b"waits"]
    assert running.public_state == "running"
    assert running.payload == b"left running"
    assert [f.payload for f in ledger.read.frames(running.execution_id, 0)] == [b"tick"]
    assert ledger.read.counts()["running"] == 1


def test_it_opens_to_be_read_only(url: str, path: Path) -> None:
    before = path.read_bytes()
    with leasehold.open(url, read_only=True) as ledger:
        assert ledger.verify().ok
        assert len(ledger.read.events()) == EVENTS
    assert path.read_bytes() == before


TENURES = "SELECT lease_id, renewals, ended_by, refusals FROM tenure ORDER BY event_id"


def test_its_tenures_can_be_read_although_it_has_no_view_of_them(
    url: str, path: Path
) -> None:
    before = path.read_bytes()
    with leasehold.open(url, read_only=True, clock=later) as ledger:
        tenures = ledger.read.tenures()
        acquired = ("acquired", "reclaimed")
        assert [row.event_id for row in tenures] == [
            row.event_id
            for row in ledger.read.lease_events()
            if row.event_type in acquired
        ]
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as plain:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            plain.execute(TENURES)
        # Not a row is made anew when it is opened and gets the view.
        plain.execute("UPDATE summary SET version = version + 70")
        plain.commit()
        with leasehold.open(url, clock=later) as ledger:
            assert ledger.read.tenures() == tenures
        shown = plain.execute(TENURES).fetchall()
        assert plain.execute("SELECT min(version) > 70 FROM summary").fetchone() == (1,)
    assert shown == [
        (str(row.lease_id), row.renewals, row.ended_by, row.refusals) for row in tenures
    ]


def test_its_past_can_be_visited(ledger: leasehold.Ledger) -> None:
    (running,) = [e for e in ledger.read.executions("open") if e.payload != b"waits"]
    with ledger.as_of() as now:
        assert now.executions() == ledger.read.executions()
        assert now.lease_events() == ledger.read.lease_events()
    created = ledger.read.history(running.execution_id)[0].position
    with ledger.as_of(created) as then:
        assert then.execution(running.execution_id).public_state == "pending"
    with ledger.as_of(created - 1) as then:
        assert then.execution(running.execution_id) is None
    assert ledger.why(running.execution_id, "public_state").topic == "execution.claimed"


def test_it_goes_on_being_written_to(ledger: leasehold.Ledger) -> None:
    work(ledger)
    assert ledger.verify().ok
    assert ledger.read.settled_position() > EVENTS


def test_it_is_rebuilt_followed_and_projected(ledger: leasehold.Ledger) -> None:
    assert ledger.rebuild() == []
    seen: list[int] = []

    class Positions:
        def create(self, execute: Callable[..., Any]) -> None:
            execute("CREATE TABLE IF NOT EXISTS seen (position INTEGER PRIMARY KEY)")

        def apply(self, recorded: Any, execute: Callable[..., Any]) -> None:
            execute("INSERT INTO seen VALUES (?)", recorded.position)
            seen.append(recorded.position)

    ledger.run_projection(Positions(), "positions")
    assert seen == list(range(1, EVENTS + 1))
    with ledger.subscribe(after=EVENTS - 2) as subscription:
        assert [next(subscription).position, next(subscription).position] == [79, 80]
    assert ledger.verify().ok


@pytest.mark.parametrize("kind", ["file", "postgres"])
def test_it_moves_to_another_store(
    ledger: leasehold.Ledger, kind: str, new_store: Callable[..., str]
) -> None:
    bundle = exported(ledger)
    with leasehold.open(new_store(kind, "moved"), clock=later) as moved:
        moved.import_bundle(io.BytesIO(bundle))
        assert moved.verify().ok
        assert exported(moved) == bundle
        assert moved.read.executions() == ledger.read.executions()
        assert moved.read.lease_events() == ledger.read.lease_events()
        work(moved)
        assert moved.verify().ok


SECOND_TOLD = "told since version 2"
NOT_TOLD = "not told in version 1"


class ReprioritisedForAReason(ExecutionReprioritised):
    """What the event is in a version that has one more field and another name."""

    SCHEMA_VERSION: ClassVar[int] = 2

    reason: str = SECOND_TOLD


@pytest.fixture
def second_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a version in which an event has another class with one more field."""
    new, old = ReprioritisedForAReason, ExecutionReprioritised
    topic = old.TOPIC

    def with_a_reason(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "reason": NOT_TOLD}

    monkeypatch.setattr(executions, "ExecutionReprioritised", new)
    monkeypatch.setitem(catalogue.BY_TOPIC, topic, new)
    monkeypatch.setitem(codec._OPENINGS, new, b'{"schema_version":2,')
    monkeypatch.setitem(codec.UPCASTERS, (topic, 1), with_a_reason)
    monkeypatch.setitem(bundles._SCHEMA_VERSIONS, topic, 2)
    monkeypatch.setitem(registry._BY_EVENT, new, registry._BY_EVENT[old])


def reasons(ledger: leasehold.Ledger) -> list[str]:
    topic = ExecutionReprioritised.TOPIC
    found = ledger.read.events(topics=[topic])
    assert {type(recorded.event) for recorded in found} == {ReprioritisedForAReason}
    return [recorded.event.reason for recorded in found]


def test_an_event_gets_a_field_and_its_class_another_name(
    ledger: leasehold.Ledger, second_version: None
) -> None:
    before = reasons(ledger)
    assert before
    assert set(before) == {NOT_TOLD}
    work(ledger)
    assert reasons(ledger) == [*before, SECOND_TOLD]
    assert ledger.verify().ok
    assert ledger.rebuild() == []
    with ledger.as_of() as now:
        assert now.executions() == ledger.read.executions()


def test_the_stored_bytes_stay_as_they_are(
    ledger: leasehold.Ledger, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    before = exported(ledger).splitlines()[1:-1]
    request.getfixturevalue("second_version")
    work(ledger)
    assert exported(ledger).splitlines()[1 : EVENTS + 1] == before


def test_a_bundle_of_the_first_version_is_taken_by_the_second(
    ledger: leasehold.Ledger, request: Any, new_store: Callable[..., str]
) -> None:
    bundle = exported(ledger)
    request.getfixturevalue("second_version")
    with leasehold.open(new_store("postgres"), clock=later) as moved:
        moved.import_bundle(io.BytesIO(bundle))
        assert set(reasons(moved)) == {NOT_TOLD}
        work(moved)
        assert reasons(moved)[-1] == SECOND_TOLD
        assert moved.verify().ok


def test_the_first_version_does_not_misread_what_the_second_wrote(
    url: str, ledger: leasehold.Ledger
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        second_version.__wrapped__(patched)
        work(ledger)
        bundle = exported(ledger)
    last = ledger.read.settled_position()
    with pytest.raises(StoreError, match=f"position {last}") as told:
        ledger.read.events()
    assert told.value.code == "corrupt_event"
    with (
        leasehold.open("sqlite://") as empty,
        pytest.raises(leasehold.InvalidInputError, match="version"),
    ):
        empty.import_bundle(io.BytesIO(bundle))


def test_an_event_without_its_upcaster_is_named(
    ledger: leasehold.Ledger, second_version: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(codec.UPCASTERS, (ExecutionReprioritised.TOPIC, 1))
    with pytest.raises(StoreError, match="no such event or version"):
        ledger.read.events()


def with_a_tag(event: ExecutionCreated, place: Place) -> Changes:
    """Project what is created with one more tag, as a new version may."""
    (rule, *_) = RULES_OF_CREATED
    return tuple(
        replace(change, values={**change.values, "tags": '{"version":"2"}'})
        if "tags" in change.values
        else change
        for change in rule(event, place)
    )


RULES_OF_CREATED = registry._BY_EVENT[ExecutionCreated]


@pytest.fixture
def second_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a version that makes other rows of the same events."""
    raised = registry.PROJECTION_VERSION + 1
    for name, module in sorted(sys.modules.items()):
        if name.startswith("leasehold.") and hasattr(module, "PROJECTION_VERSION"):
            monkeypatch.setattr(module, "PROJECTION_VERSION", raised)
    session = sys.modules.get("leasehold.adapters.postgres.session")
    if session is not None:
        monkeypatch.setitem(session._WRITTEN, "projection_version", raised)
    rules = (with_a_tag, *RULES_OF_CREATED[1:])
    monkeypatch.setitem(registry._BY_EVENT, ExecutionCreated, rules)


def tags(ledger: leasehold.Ledger) -> list[str | None]:
    """Return the tag that the second version adds, of all executions."""
    return [row.tags.get("version") for row in ledger.read.executions()]


def test_a_changed_projection_is_rebuilt_on_open(
    url: str, second_projection: None
) -> None:
    with pytest.raises(StoreError, match="earlier version") as told:
        leasehold.open(url, read_only=True)
    assert told.value.code == "schema_version"
    with leasehold.open(url, clock=later) as ledger:
        assert tags(ledger) == ["2"] * EXECUTIONS
        assert ledger.verify().ok
        (running,) = ledger.read.executions("open", "running")
        frames = ledger.read.frames(running.execution_id, 0)
        assert [frame.payload for frame in frames] == [b"tick"]
        work(ledger)
        ledger.create_execution()
        assert tags(ledger) == ["2"] * (EXECUTIONS + 1)
        assert ledger.verify().ok
    leasehold.open(url, read_only=True).close()


def test_who_has_it_open_in_the_older_version_is_told(
    url: str, ledger: leasehold.Ledger
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        second_projection.__wrapped__(patched)
        leasehold.open(url, clock=later).close()
    with pytest.raises(StoreError) as told:
        ledger.create_execution()
    assert told.value.code == "schema_version"
    with pytest.raises(StoreError, match="later version"):
        leasehold.open(url)


def test_a_store_in_postgresql_is_rebuilt_on_open_as_well(
    ledger: leasehold.Ledger, new_store: Callable[..., str], request: Any
) -> None:
    url = new_store("postgres")
    with leasehold.open(url, clock=later) as moved:
        moved.import_bundle(io.BytesIO(exported(ledger)))
        assert tags(moved) == [None] * EXECUTIONS
    request.getfixturevalue("second_projection")
    with leasehold.open(url, clock=later) as moved:
        assert tags(moved) == ["2"] * EXECUTIONS
        work(moved)
        assert moved.verify().ok


def test_the_two_databases_agree_on_what_the_first_version_stored(
    ledger: leasehold.Ledger, new_store: Callable[..., str]
) -> None:
    with leasehold.open(new_store("postgres"), clock=later) as moved:
        moved.import_bundle(io.BytesIO(exported(ledger)))
        here, there = rows_of(ledger._store), rows_of(moved._store)
    # A best-effort frame is no event: it stays where it was.
    here["stream_frame"] = [
        row for row in here["stream_frame"] if row["mode"] != "best_effort"
    ]
    assert here == there
