"""The command that shows who held what, and when."""

import json
import re
from dataclasses import asdict
from uuid import UUID

import pytest

import leasehold
from leasehold.adapters.command_line import application, output

START_MS = 1_735_722_000_000
FILM = UUID("01942000-0000-7000-8000-000000000001")
BILL = UUID("01942000-0000-7000-8000-000000000002")
HEADER = (
    "execution_id attempt epoch worker acquired_by acquired_at held ended_by renewals"
    " headroom orphaned refusals"
)


@pytest.fixture
def story(shared_url):
    """Leave a film that was taken over from amber, and a bill that amber holds."""
    now_ms = START_MS
    with leasehold.open(shared_url, clock=lambda: now_ms) as ledger:
        ledger.create_execution(execution_id=FILM, lane_id="render")
        ledger.create_execution(execution_id=BILL, lane_id="billing")
        amber = ledger.claim("render", worker_id="amber", lease_ttl_ms=30_000)
        now_ms += 20_000
        ledger.renew(amber)
        now_ms += 40_000
        birch = ledger.claim("render", worker_id="birch", lease_ttl_ms=30_000)
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.complete(amber)
        now_ms += 5_000
        ledger.complete(birch)
        now_ms = 250_000_000_000_000  # In the year 9892: it outlives this test.
        ledger.claim("billing", worker_id="amber")
        return ledger.read.tenures()


@pytest.fixture
def run(capsys, shared_url):
    """Run a command on the store; give what it says on the two streams."""

    def call(*arguments, status=0):
        assert application.run([*arguments, "--store", shared_url]) == status
        printed = capsys.readouterr()
        return printed.out, printed.err

    return call


@pytest.fixture
def listed(run):
    """Run `tenures` and give its rows."""

    def call(*arguments, before=()):
        said, error = run(*before, "tenures", *arguments, "--json")
        assert error == ""
        return json.loads(said)

    return call


def test_every_tenure_has_a_line(run, story):
    said, error = run("tenures")
    assert error == ""
    header, *lines = said.splitlines()
    assert header.split() == HEADER.split()
    assert [line.replace(" s ", "s ").split() for line in lines] == [
        [
            *(str(FILM), "0", "1", "amber", "claim", "2025-01-01", "09:00:00.000Z"),
            *("+50.000s", "expired", "1", "+10.000s", "+10.000s", "1"),
        ],
        [
            *(str(FILM), "1", "2", "birch", "reclaim", "2025-01-01", "09:01:00.000Z"),
            *("+5.000s", "completed", "0", "-", "-", "0"),
        ],
        [
            *(str(BILL), "0", "1", "amber", "claim", "9892-03-08", "12:26:40.000Z"),
            *("-", "live", "0", "-", "-", "0"),
        ],
    ]


def test_json_has_every_column(listed, story):
    rows = listed()
    assert rows == [output.plain(asdict(row)) for row in story]
    assert list(rows[0]) == list(leasehold.TenureRow.__slots__)


def test_the_filters_are_those_of_the_read(listed, story):
    def epochs(*arguments):
        return [(row["execution_id"], row["lease_epoch"]) for row in listed(*arguments)]

    film, bill = str(FILM), str(BILL)
    assert epochs("--execution", film) == [(film, 1), (film, 2)]
    assert epochs("--worker", "amber") == [(film, 1), (bill, 1)]
    assert epochs("--lane", "billing") == [(bill, 1)]
    assert epochs("--lane", "render", "--worker", "birch") == [(film, 2)]
    # The first ended at 09:00:50, the second at 09:01:05.
    assert epochs("--since", "2025-01-01T09:00:50Z") == epochs()
    assert epochs("--since", "2025-01-01T10:00:50.001+01:00") == epochs()[1:]
    assert epochs("--since", f"@{START_MS + 65_001}") == [(bill, 1)]
    assert epochs("--after", str(story[0].event_id), "--limit", "1") == [(film, 2)]


def test_a_full_page_says_how_to_go_on(run, story):
    _, error = run("tenures", "--limit", "2")
    assert error == f"2 shown; for more: --after {story[1].event_id}\n"
    said, error = run("tenures", "--after", str(story[1].event_id), "--limit", "2")
    assert (len(said.splitlines()), error) == (2, "")


def test_as_of_shows_who_held_it_then(listed, story):
    (then,) = listed(before=("as-of", "2025-01-01T09:00:49.999Z"))
    assert (then["worker_id"], then["ended_at_ms"]) == ("amber", None)
    (then,) = listed("--execution", str(FILM), before=("as-of", "2025-01-01T09:00:50Z"))
    assert (then["ended_by"], then["orphaned_ms"]) == ("expired", None)
    assert listed(before=("as-of", "now")) == listed()
    assert listed("--lane", "billing", before=("as-of", str(story[1].event_id))) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--execution", "film"), "'film' is not an execution id"),
        (("--since", "12"), "'12' is no time: give one with its zone"),
        (("--since", "now"), "'now' is no time"),
        (("--since", "yesterday"), "'yesterday' is no time"),
        (("--since", "2025-01-01T09:00"), "write 2025-01-01T09:00Z for UTC"),
        (("--since", "@999999999999999999"), "since_ms must be a whole number"),
        (("--worker", ""), "worker_id must be"),
        (("--lane", "é"), "lane_id must be"),
        (("--after", "9" * 30), "after must be a whole number"),
    ],
)
def test_a_wrong_filter_is_told(run, story, arguments, said):
    out, error = run("tenures", *arguments, status=2)
    assert out == ""
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("option", ["--limit", "--after"])
def test_a_number_out_of_bounds_is_told(run, story, option):
    out, error = run("tenures", option, "-1", status=2)
    assert out == ""
    assert option in error


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_a_terminal_shows_what_fits(run, story, monkeypatch, width):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    for one in ((), ("--execution", str(FILM))):
        said, _ = run("tenures", *one)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()
        assert max(map(len, lines)) <= width
        header = lines[0].split()
        assert {"epoch", "worker", "held", "ended_by"} <= set(header)
        if one and width < 200:
            assert "execution_id" not in header
        if width == 200:
            assert header == HEADER.split()
