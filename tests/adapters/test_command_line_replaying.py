"""The commands that look back: as-of, why, diff, and history as a story."""

import json
import re
from uuid import UUID

import pytest

import leasehold
from leasehold.adapters.command_line import application, moments, stories, wording
from leasehold.domain.catalogue import EVENT_TYPES
from leasehold.domain.streams import EXECUTION_ID_CHARACTERS

START_MS = 1_735_722_000_000
FILM = UUID("01942000-0000-7000-8000-000000000001")
BILL = UUID("01942000-0000-7000-8000-000000000002")
HOSTILE = "\x1b[31m[red]bold\x1b]0;owned\x07\u202e\x9b2J"


class Clock:
    def __init__(self):
        self.now_ms = START_MS

    def __call__(self):
        return self.now_ms


@pytest.fixture
def story(shared_url):
    """Leave a film that was taken over, and a bill that waits; nobody else writes."""
    clock = Clock()
    with leasehold.open(shared_url, clock=clock) as ledger:
        ledger.create_execution(execution_id=FILM, lane_id="render", payload=b"scene")
        ledger.create_execution(execution_id=BILL, lane_id="billing")
        amber = ledger.claim("render", worker_id="amber")
        clock.now_ms += 40_000
        birch = ledger.claim("render", worker_id="birch")
        with pytest.raises(leasehold.LeaseConflictError):
            ledger.complete(amber, b"late")
        for _ in range(3):
            clock.now_ms += 5_000
            ledger.renew(birch)
        frame = leasehold.Frame(b'{"images":100}', mode=leasehold.Summary())
        ledger.append_frame(birch, frame)
        ledger.complete(birch, b"film")
        return {record.topic: record.position for record in ledger.read.history(FILM)}


@pytest.fixture
def run(capsys, shared_url):
    """Run a command on the store; give its lines, parsed where they are JSON."""

    def call(*arguments):
        status = application.run([*arguments, "--store", shared_url])
        printed = capsys.readouterr()
        assert (status, printed.err) == (0, "")
        lines = printed.out.splitlines()
        return [json.loads(line) for line in lines] if "--json" in arguments else lines

    return call


@pytest.fixture
def refused(capsys, shared_url):
    """Run a command that is wrong; give the one line that says why."""

    def call(*arguments):
        status = application.run([*arguments, "--store", shared_url])
        printed = capsys.readouterr()
        assert (status, printed.out) == (2, "")
        (line,) = printed.err.splitlines()
        return line

    return call


@pytest.fixture
def on_terminal(capsys, shared_url, monkeypatch):
    """Run a command as on a terminal of a width; give its lines without colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")

    def call(width, *arguments):
        monkeypatch.setenv("COLUMNS", str(width))
        assert application.run([*arguments, "--store", shared_url]) == 0
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return call


def test_as_of_lists_what_there_was(run, story):
    assert len(run("as-of", "0", "list")) == 1
    (only,) = run("as-of", "1", "list", "--json")[0]
    assert only["execution_id"] == str(FILM)
    (bill, film) = sorted(
        run("as-of", str(story["attempt.started"] - 1), "list", "--json")[0],
        key=lambda row: row["lane_id"],
    )
    assert (bill["public_state"], film["public_state"]) == ("pending", "running")
    now = run("list", "--json")
    assert run("as-of", "now", "list", "--json") == now
    assert run("as-of", str(story["execution.completed"]), "list", "--json") == now


@pytest.mark.parametrize(
    "when",
    [
        "@1735722000000",
        "2025-01-01T09:00:00Z",
        "2025-01-01 09:00:00.000Z",
        "2025-01-01T10:00:00.999+01:00",
    ],
)
def test_as_of_takes_a_time_in_several_forms(run, story, when):
    (shown,) = run("as-of", when, "show", str(FILM), "--json")
    assert shown["execution"]["public_state"] == "running"
    assert [row["worker_id"] for row in shown["attempts"]] == ["amber"]
    assert shown["lease_events"][-1]["event_type"] == "acquired"


def test_as_of_tells_the_history_and_the_frames_of_then(run, story):
    then = str(story["refusal.recorded"])
    topics = [
        row["topic"] for row in run("as-of", then, "history", str(FILM), "--json")
    ]
    assert topics[-1] == "refusal.recorded"
    assert "attempt.lease_renewed" not in topics
    assert run("as-of", then, "frames", str(FILM), "--json") == []
    assert len(run("as-of", "now", "frames", str(FILM), "--json")) == 1


def test_as_of_writes_nothing(run, story, shared_url):
    with leasehold.open(shared_url, read_only=True) as ledger:
        before = ledger.read.events()
    for command in (["list"], ["show", str(FILM)], ["history", str(FILM)]):
        run("as-of", "3", *command)
    with leasehold.open(shared_url, read_only=True) as ledger:
        assert ledger.read.events() == before


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("yesterday", "give a position (12), a time with its zone"),
        ("2025-01-01T09:00", "has no zone: write 2025-01-01T09:00Z"),
        ("2025-01-01", "has no zone: write 2025-01-01T00:00Z"),
        ("1735722000000", "a time in ms is written with an @ before it"),
        ("@", "is no place in the log"),
        ("@٣", "is no place in the log"),
        ("1969-12-31T00:00Z", "at_ms must be"),
        ("\x1b[31m", r"'\x1b[31m' is no place"),
        ("9" * 30, "is no place in the log"),
    ],
)
def test_as_of_refuses_what_is_no_place_in_the_log(refused, story, when, why):
    assert why in refused("as-of", when, "list")


def test_as_of_says_when_an_execution_was_not_there_yet(refused, story):
    line = refused("as-of", "1", "show", str(BILL))
    assert (
        line == f"leasehold: no execution {BILL} in this store as it was at position 1"
    )
    line = refused("as-of", "@1735721999999", "history", str(BILL))
    assert line.endswith("as it was at 2025-01-01 08:59:59.999Z")


def test_the_past_is_not_followed(refused, story):
    line = refused("as-of", "3", "frames", str(FILM), "--follow")
    assert "the past does not change" in line


@pytest.mark.parametrize("arguments", [["as-of"], ["as-of", "3"], ["as-of", "3", "x"]])
def test_as_of_wants_a_time_and_a_command(capsys, arguments):
    assert application.run(arguments) == 2


def test_a_moment_says_itself_in_words():
    assert str(moments.parse("now")) == "now"
    assert str(moments.parse("12")) == "position 12"
    assert str(moments.parse("@7")) == "1970-01-01 00:00:00.007Z"


def test_why_names_the_event_in_words(run, story):
    title, *lines = run("why", str(FILM), "public_state")
    assert title == "public_state went from running to completed"
    told = dict(line.strip().split(maxsplit=1) for line in lines)
    assert told == {
        "what": "completed, 4 B",
        "who": "birch",
        "epoch": "2",
        "at": "2025-01-01 09:00:55.000Z",
        "topic": "execution.completed",
        "position": str(story["execution.completed"]),
        "stream": str(FILM),
        "version": "4",
    }


def test_why_of_an_attempt_and_its_summary(run, story):
    title, *_ = run("why", str(FILM), "lease_expires_at_ms", "--attempt", "0")
    assert title == "lease_expires_at_ms went from 2025-01-01 09:00:30.000Z to -"
    title, *_ = run("why", str(FILM), "version", "--attempt", "1")
    assert title == "version is 1 since the row was made"
    title, *_ = run("why", str(FILM), "lane_id")
    assert title == "lane_id is render since the row was made"


def test_why_as_json_has_the_values_and_the_event(run, story):
    (told,) = run("why", str(FILM), "outcome", "--attempt", "0", "--json")
    assert (told["before"], told["after"]) == (None, "interrupted_reclaimed")
    assert told["event"]["topic"] == "attempt.interrupted"
    (told,) = run("why", str(FILM), "lease_epoch", "--attempt", "1", "--json")
    assert (told["before"], told["after"]) == (None, 2)


def test_why_refuses_what_is_not_there(refused, story):
    assert "column must be one of execution_id" in refused("why", str(FILM), "colour")
    line = refused("why", str(FILM), "outcome")
    assert line.endswith("is a column of an attempt: say of which with --attempt N")
    line = refused("why", str(FILM), "priority", "--attempt", "0")
    assert line.endswith("is a column of the execution: leave --attempt out")
    line = refused("why", str(FILM), "colour", "--attempt", "0")
    assert "column must be one of execution_id" in line
    line = refused("why", str(FILM), "outcome", "--attempt", "7")
    assert line.endswith("has no row with outcome for attempt 7")
    assert refused("why", str(UUID(int=7)), "priority").endswith("not in this store")
    assert "is not an execution id" in refused("why", "7", "priority")


def test_diff_tells_rows_and_columns(run, story):
    started = story["attempt.started"]
    lines = run("diff", str(started), "now")
    assert lines[0] == f"execution {FILM}"
    assert f"execution {BILL}" not in lines
    assert "  ~ exec_core" in lines
    assert "      public_state     running → completed" in lines
    assert "  ~ attempt attempt_index=1" in lines
    made = [line for line in lines if line.startswith("  + lease_event event_id=")]
    assert len(made) == 5
    back = run("diff", "now", str(started))
    assert "      public_state     completed → running" in back
    assert "  - summary attempt_index=1" in back


def test_diff_as_json_is_one_row_a_line(run, story):
    rows = run("diff", "0", "2", "--json")
    assert [(row["table"], row["key"]) for row in rows] == [
        ("exec_core", {"execution_id": str(FILM)}),
        ("exec_core", {"execution_id": str(BILL)}),
    ]
    assert rows[0]["before"] is None
    assert rows[0]["after"]["lane_id"] == "render"
    last = story["execution.completed"]
    (core,) = run("diff", str(last - 1), str(last), "--json")
    assert core["columns"]["public_state"] == {
        "before": "running",
        "after": "completed",
    }


def test_diff_of_equal_states_says_so(capsys, shared_url, story):
    assert application.run(["diff", "3", "3", "--store", shared_url]) == 0
    assert capsys.readouterr().err == "no row differs between 3 and 3\n"


def test_diff_refuses_what_is_no_position(refused, story):
    assert "is no position" in refused("diff", "2025-01-01T09:00Z", "now")
    assert "is beyond it" in refused("diff", "0", "1000")


def test_a_change_that_does_not_fit_takes_two_lines(on_terminal, story, shared_url):
    with leasehold.open(shared_url) as ledger:
        ledger.create_execution(lane_id="x")
        handle = ledger.claim("x", worker_id="w")
        before = ledger.read.settled_position()
        ledger.progress(handle, 5, "many words " * 9)
    lines = on_terminal(60, "diff", str(before), "now")
    assert max(map(len, lines)) <= 60
    assert any(line.strip().startswith('→ {"progress_message":"many') for line in lines)


def test_history_is_a_story_in_a_pipe(run, story):
    head, *lines = run("history", str(FILM))
    names = ["position", "at", "since", "epoch", "who", "topic", "what"]
    assert head.split() == names
    assert len(lines) == 14
    (refusal,) = [line for line in lines if "refusal.recorded" in line]
    assert "+40.000 s  1      amber  refusal.recorded" in refusal
    assert refusal.endswith(
        "refused: complete, lease_conflict, 10 s too late; the epoch is 2"
    )
    assert sum("renewed; its lease runs 30 s" in line for line in lines) == 3


def test_history_is_a_story_on_a_terminal(on_terminal, story):
    title, head, day, *lines = on_terminal(120, "history", str(FILM))
    assert title == f"execution {FILM}, completed"
    assert head.split() == ["pos.", "time", "since", "epoch", "who", "what"]
    assert day == "2025-01-01 UTC"
    assert lines[0].split(maxsplit=6)[1:] == [
        *("09:00:00.000", "+0.000", "s", "-", "-"),
        "created in lane render, payload 5 B",
    ]
    (renewals,) = [line for line in lines if "renewed" in line]
    assert renewals.endswith("birch  renewed; its lease runs 30 s (×3)")
    narrow = on_terminal(60, "history", str(FILM))
    assert max(map(len, narrow)) <= 60
    assert "    took over as attempt 1; its lease runs 30 s" in narrow


def test_history_after_a_position_still_knows_who(run, story):
    after = str(story["execution.completed"] - 1)
    (line,) = run("history", str(FILM), "--after", after)[1:]
    assert "birch  execution.completed" in line


def test_a_day_is_a_heading(on_terminal, shared_url):
    clock = Clock()
    with leasehold.open(shared_url, clock=clock) as ledger:
        ledger.create_execution(execution_id=FILM)
        clock.now_ms += 2 * 86_400_000 + 3_723_004
        ledger.change_priority(FILM, 5, actor="ada")
    lines = on_terminal(100, "history", str(FILM))
    assert [line for line in lines if line.endswith("UTC")] == [
        "2025-01-01 UTC",
        "2025-01-03 UTC",
    ]
    assert "+2 d 1:02:03" in lines[-1]
    assert lines[-1].endswith("ada  priority 5")


def test_times_since_a_beginning_are_short():
    given = [0, 59_999, 61_005, 3_600_000, 86_400_000, -500]
    assert [stories.since_text(since_ms) for since_ms in given] == [
        *("+0.000 s", "+59.999 s", "+0:01:01.005", "+1:00:00.000"),
        *("+1 d 0:00:00", "-0.500 s"),
    ]
    assert stories.day_and_time(10**18) == ("", f"{10**18} ms")


def test_durations_are_told_in_fitting_units():
    given = [0, 5, 1500, 119_999, 120_000, 125_500, 3_600_000, 89_970_000]
    assert [wording.lasting(duration_ms) for duration_ms in given] == [
        *("0 s", "0.005 s", "1.5 s", "119.999 s", "2 min", "2 min 5.5 s", "1 h"),
        "24 h 59 min 30 s",
    ]


def full_story(ledger, clock):
    """Make an event of every kind, in the name of hostile people."""
    ledger.create_executions([{"deadline_at_ms": clock() + 1}])
    created = ledger.create_execution(
        lane_id="a",
        payload=b"x",
        namespace="other",
        priority=5,
        capabilities={"gpu"},
        delay_until_ms=clock() + 5,
        deadline_at_ms=clock() + 10**9,
        idempotency_key=HOSTILE,
        tags={"k": HOSTILE},
        actor=HOSTILE,
        retry_policy=leasehold.RetryPolicy(1, leasehold.Fixed(2000)),
    )
    clock.now_ms += 10
    ledger.sweep()
    claim = {"capabilities": {"gpu"}, "worker_id": "w"}
    handle = ledger.claim("a", **claim)
    ledger.progress(handle, 5, HOSTILE)
    ledger.progress(handle, None, "y" * 400)
    ledger.renew(handle)
    ledger.append_frame(handle, leasehold.Frame(b"x", frame_type=HOSTILE))
    clock.now_ms -= 7
    grant = ledger.issue_resume_grant(created, worker_id="w", actor=HOSTILE)
    ledger.change_priority(created, 6, actor=HOSTILE)
    ledger.revoke_lease(created, actor=HOSTILE, reason=HOSTILE)
    for _ in range(2):
        with pytest.raises(leasehold.LeaseRevokedError):
            ledger.renew(handle)
    handle = ledger.claim_from_resume_grant(grant, worker_id="w")
    ledger.fail(handle, HOSTILE, leasehold.FailureClass.TRANSIENT)
    clock.now_ms += 5000
    handle = ledger.claim("a", **claim)
    clock.now_ms += 40_000
    handle = ledger.claim("a", **claim)
    ledger.cancel_execution(created, actor=HOSTILE, reason=HOSTILE)
    ledger.replay_execution(created, actor=HOSTILE, reason=HOSTILE)
    ledger.fail(ledger.claim("a", **claim), HOSTILE, leasehold.FailureClass.PERMANENT)
    ledger.replay_execution(created, actor=HOSTILE, reason=HOSTILE)
    ledger.complete(ledger.claim("a", **claim))
    ledger.create_execution(lane_id="b", deadline_at_ms=clock() + 5)
    ledger.claim("b", worker_id="w")
    clock.now_ms += 10
    ledger.sweep()
    return created


@pytest.mark.parametrize("width", [None, 80])
def test_every_event_is_told_in_words_that_harm_no_terminal(
    shared_url, capsys, monkeypatch, width
):
    clock = Clock()
    with leasehold.open(shared_url, clock=clock) as ledger:
        created = full_story(ledger, clock)
        ids = {str(record.event.execution_id) for record in ledger.read.events()}
        topics = {record.topic for record in ledger.read.events()}
        records = ledger.read.events()
    assert topics == {event_type.TOPIC for event_type in EVENT_TYPES}
    assert all(len(name) == EXECUTION_ID_CHARACTERS for name in ids)
    assert wording._WORDS.keys() == set(EVENT_TYPES)
    told = [wording.words(record.event) for record in records]
    assert any(
        words.endswith("the clock had stepped back by 0.007 s") for words in told
    )
    if width is not None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(width))
    for command in (
        ["history", str(created)],
        ["tail", "--after", "0", "--limit", str(len(records))],
        ["diff", "0", "now"],
        ["why", str(created), "raw_fields"],
        ["why", str(created), "failure_message", "--attempt", "0"],
        ["as-of", "now", "show", str(created)],
    ):
        assert application.run([*command, "--store", shared_url]) == 0
        printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        assert printed.replace("\n", "").isprintable(), command


def test_the_oldest_holders_are_forgotten(monkeypatch):
    monkeypatch.setattr(wording, "_HOLDERS_MAX", 2)
    holders = wording.Holders()
    for number in range(4):
        holders.know(UUID(int=number), f"worker-{number}")
    assert list(holders._worker_of) == [UUID(int=2), UUID(int=3)]
