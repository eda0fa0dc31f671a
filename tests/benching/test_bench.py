"""`leasehold bench`, with numbers so small that the figures mean nothing."""

import io
import sys

import psycopg
import pytest
from outsiders import without_schema

import leasehold
from leasehold.adapters.benching import bench as whole
from leasehold.adapters.benching import kills
from leasehold.adapters.benching.measuring import Figure, percentile
from leasehold.adapters.benching.places import place_of
from leasehold.adapters.benching.rows import BenchOrder, Part, PartReport, Row
from leasehold.adapters.command_line import application
from leasehold.adapters.command_line.live_line import live_line
from leasehold.adapters.postgres.dropping import drop

TINY = ("--rounds", "1", "--executions", "12")
CALLS = ["create", "claim", "renew", "progress", "append_frame", "complete"]


def only(*parts):
    return [word for part in parts for word in ("--only", part)]


def named(document, part):
    """Return the figures of a part by the name of the row."""
    rows = document["parts"][part]["rows"]
    return {row.pop("name"): row for row in rows}


def test_it_measures_calls_and_replays_and_leaves_no_file(bench, tmp_path):
    status, told = bench(*TINY, *only("hot-path", "replay"), "--durability", "normal")
    assert (status, told["ok"], told["is_measured"]) == (0, True, False)
    assert list(told["parts"]) == ["hot-path", "replay"]
    assert told["circumstances"]["durability"] == "normal"
    assert {"python", "sqlite", "leasehold", "processor", "backend_version"} <= set(
        told["circumstances"]
    )
    calls = named(told, "hot-path")
    assert list(calls) == CALLS
    for figures in calls.values():
        assert list(figures) == ["raw_us", "leasehold_us", "ratio"]
        for figure in figures.values():
            assert figure["rounds"] == 1
            assert 0 < figure["least"] <= figure["median"] <= figure["most"]
    replays = named(told, "replay")
    for name in ("replay", "rebuild", "verify", "audit"):
        assert replays[name]["events_per_s"]["median"] > 0
    an_event, an_execution = (
        replays[name]["bytes"]["median"]
        for name in ("an event", "an execution of 8 events")
    )
    assert an_execution == pytest.approx(8 * an_event, rel=0.01)
    assert not any(told["parts"]["replay"]["wrong"].values())
    assert list(tmp_path.iterdir()) == []


def test_processes_live_side_by_side_and_are_killed(bench, tmp_path):
    status, told = bench(*TINY, *only("lives", "kills"), "--workers", "1,2")
    assert (status, told["ok"]) == (0, True)
    lives = named(told, "lives")
    assert list(lives) == [
        f"{workers}, {step}"
        for workers in ("1 worker", "2 workers")
        for step in ("all three", "submit", "claim", "complete")
    ]
    for name, figures in lives.items():
        p50, p95, p99 = (figures[f"p{n}_ms"]["median"] for n in (50, 95, 99))
        assert 0 < p50 <= p95 <= p99
        assert ("per_s" in figures) == name.endswith("all three")
    assert told["workers"] == [1, 2]
    wrong = told["parts"]["kills"]["wrong"]
    assert {"duplicate", "overlap", "late", "lost", "verify", "audit"} <= set(wrong)
    assert not any(wrong.values())
    killed = named(told, "kills")
    assert killed["executions in all"]["count"]["median"] == 12
    if killed["leases taken over"]["count"]["median"]:
        reclaim = killed["time to reclaim, from the kill"]
        assert 0 < reclaim["mean_ms"]["median"] <= reclaim["max_ms"]["median"]
    assert list(tmp_path.iterdir()) == []


class NoFleet:
    """Stands in for the processes: one worker that does all by itself."""

    def __init__(self, order, witness):
        self.order, self.witness, self.workers = order, witness, ["amber"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self, name):
        assert name == "amber"

    def claims(self, name):
        return 0

    def look_after(self):
        with leasehold.open(self.order.url) as ledger:
            while handle := ledger.claim(worker_id="amber"):
                ledger.complete(handle)

    def end(self):
        """Leave an execution that ended twice and one that two held at once."""
        from planting import Holder, plant

        with leasehold.open(self.order.url) as ledger:
            facts = ledger.read.tenures()[0]
            now_ms = facts.acquired_at_ms
            ended = Holder(facts, "amber", facts.worker_instance_id)
            plant(ledger, *ended.completed(now_ms))
            ledger.create_execution(idempotency_key="held by two")
            handle = ledger.claim(worker_id="amber")
            second = Holder(handle, "amber", None).started(
                now_ms, "birch", taken_over=False
            )
            plant(ledger, *second)


def test_planted_duplicates_and_overlaps_end_it_with_1(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "Fleet", NoFleet)
    status, told = bench(*TINY, *only("kills"))
    assert (status, told["ok"]) == (1, False)
    found = told["parts"]["kills"]
    assert found["wrong"]["duplicate"] == 1
    assert found["wrong"]["audit"] >= 2
    for check in ("ended twice", "overlapping_tenures", "after_the_end"):
        assert any(check in text for text in found["texts"]), check
    assert list(tmp_path.iterdir()) == []


def test_it_says_when_the_figures_mean_nothing_and_shows_spreads(
    monkeypatch, capsys, tmp_path
):
    rows = (
        Row("claim", {"us": Figure.of([300.4, 250.0, 1234.5]), "ratio": Figure((2,))}),
        Row("renew", {"ratio": Figure.of([1.234, 5.5])}),
    )

    def measure(place, order, show):
        return PartReport(rows, {"overlap": 0})

    monkeypatch.setattr(whole, "PARTS", {Part.LIVES: measure})
    command = ["bench", "--folder", str(tmp_path)]
    assert application.run([*command, "--rounds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (claim,) = [line for line in lines if line.startswith("claim")]
    (renew,) = [line for line in lines if line.startswith("renew")]
    assert claim.split() == ["claim", "300", "(250–1,234)", "2"]
    assert renew.split() == ["renew", "-", "3.37", "(1.23–5.50)"]
    assert "what must not be: overlap 0" in lines
    assert "these figures mean nothing: " in " ".join(lines)
    assert application.run([*command]) == 0
    assert "mean nothing" not in capsys.readouterr().out


def test_in_a_database_it_works_in_schemas_of_its_own_and_drops_them(bench, new_store):
    url, _ = without_schema(new_store("postgres"))
    status, told = bench(*TINY, *only("hot-path", "replay"), "--store", url)
    assert (status, told["ok"]) == (0, True)
    assert told["circumstances"]["backend"] == "postgres"
    calls = named(told, "hot-path")
    assert list(calls) == CALLS
    assert all(list(figures) == ["leasehold_us"] for figures in calls.values())
    assert schemas_at(url) == []


def schemas_at(url):
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'leasehold_bench%'"
        )
        return [name for (name,) in found]


def test_schemas_that_are_kept_stay(new_store):
    url, _ = without_schema(new_store("postgres"))
    with place_of(None, url) as place:
        place.is_kept = True
        kept = place.url_of("kept")
        leasehold.open(kept).close()
    with leasehold.open(kept) as ledger:
        assert ledger.read.settled_position() == 0
    place.remove()
    assert schemas_at(url) == []


def test_schemas_that_cannot_be_dropped_are_named():
    gone = "postgresql://nobody@127.0.0.1:1/db"
    with pytest.raises(leasehold.StoreError, match="schemas a, b may be left"):
        drop(gone, ["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "0"], "--workers takes numbers from 1 to 64"),
        (["--workers", "1,x"], "--workers takes numbers"),
        (["--folder", "not-there"], "no files can be made in not-there"),
        (["--store", "sqlite:///ledger.db"], "that begins with postgresql://"),
        (["--store", "postgresql://h/db?schema=work"], "the url names a schema"),
        (["--store", "postgresql://h/db?x"], "must be name=value"),
        (["--rounds", "1", "soak"], "options of `bench soak` stand behind `soak`"),
        (["soak", "--minutes", "0"], "--minutes takes a number above 0"),
        (["soak", "--rate", "nan"], "--rate takes a number above 0"),
        (["soak", "--fault-every", "inf"], "--fault-every takes a number above 0"),
        (["soak", "--store", "file.db"], "that begins with postgresql://"),
    ],
)
def test_a_wrong_call_is_told_and_writes_nothing(
    arguments, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert application.run(["bench", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("leasehold: ")
    assert told in line
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_breaks_ends_the_part_with_what_it_said(tmp_path):
    order = BenchOrder(rounds=1, executions=1, workers=(1,), durability="full")
    with place_of(tmp_path, None) as place:
        (place.path / "lives.db").mkdir()
        with pytest.raises(leasehold.StoreError, match=r"lives\.db"):
            whole.bench(place, order, [Part.LIVES], lambda _: None)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_how_far_it_is_is_shown_on_a_terminal_and_nowhere_else(monkeypatch, capsys):
    with live_line() as show:
        show("round 1")
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with live_line() as show:
        show("round 2 of \x1b[2J")
    assert "round 2 of" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("percent", "value"), [(1, 1), (50, 2), (51, 3), (75, 3), (76, 4), (100, 4)]
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(percent, value):
    assert percentile([4, 1, 3, 2], percent) == value
