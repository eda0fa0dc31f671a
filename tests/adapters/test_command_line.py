"""The commands that look into a ledger: what they print, for people and machines."""

import json
import re
import subprocess
import sys
import time
import uuid

import pytest

import leasehold
from leasehold.adapters.command_line import application, output

HOSTILE = "\x1b[31m[red]bold\x1b]0;owned\x07\u202e\x9b2J"


def _run(capsys, url, *arguments, json_lines=False):
    status = application.run([*arguments, "--store", url])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    if json_lines:
        return [json.loads(line) for line in printed.out.splitlines()]
    return json.loads(printed.out) if "--json" in arguments else printed.out


@pytest.fixture
def run(capsys, shared_url):
    """Run a command on the store; give what it printed, parsed where it is JSON."""

    def call(*arguments, json_lines=False):
        return _run(capsys, shared_url, *arguments, json_lines=json_lines)

    return call


@pytest.fixture
def story(shared_url):
    """Leave one execution done, one waiting and one failed; give their ids."""
    with leasehold.open(shared_url) as ledger:
        done = ledger.create_execution(
            payload=b"input", tags={"team": "blue"}, priority=5
        )
        handle = ledger.claim(worker_id="worker-1")
        ledger.progress(handle, 40, "on the way")
        for text in (b"first line", b"second\nthird", b"\xff\x00"):
            ledger.append_frame(handle, leasehold.Frame(text))
        ledger.append_frame(
            handle, leasehold.Frame(b'{"rows":2}', mode=leasehold.Summary())
        )
        for _ in range(3):
            ledger.renew(handle)
        ledger.complete(handle, b"\xfe\x00result")
        waiting = ledger.create_execution(lane_id="other")
        failed = ledger.create_execution()
        handle = ledger.claim(worker_id="worker-2")
        ledger.fail(handle, "no such table", leasehold.FailureClass.PERMANENT)
    return {"done": done, "waiting": waiting, "failed": failed}


def test_list_shows_every_execution_in_columns(run, story):
    lines = run("list").splitlines()
    assert lines[0].split()[:3] == ["execution_id", "namespace", "lane_id"]
    assert [line.split()[0] for line in lines[1:]] == sorted(map(str, story.values()))
    (done,) = [line for line in lines if line.startswith(str(story["done"]))]
    assert done.split()[1:6] == ["default", "default", "completed", "0", "5"]


def test_list_as_json_is_one_document_of_whole_rows(run, story):
    rows = run("list", "--json")
    assert {row["execution_id"] for row in rows} == set(map(str, story.values()))
    (done,) = [row for row in rows if row["execution_id"] == str(story["done"])]
    assert done["public_state"] == "completed"
    assert done["payload"] == {"encoding": "utf-8", "data": "input"}
    assert done["result"]["encoding"] == "base64"
    assert done["tags"] == {"team": "blue"}
    assert done["raw_fields"]["progress_pct"] == 40


def test_list_filters_by_lane_state_and_namespace(run, story):
    def ids(*arguments):
        return [row["execution_id"] for row in run("list", "--json", *arguments)]

    assert ids("--lane", "other") == [str(story["waiting"])]
    assert ids("--state", "failed") == [str(story["failed"])]
    assert ids("--namespace", "nobody") == []


def test_list_pages_after_an_execution(capsys, shared_url, story):
    every = sorted(map(str, story.values()))
    application.run(["list", "--store", shared_url, "--limit", "2"])
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[1:]] == every[:2]
    assert printed.err == f"2 shown; for more: --after {every[1]}\n"
    rest = _run(capsys, shared_url, "list", "--json", "--after", every[1])
    assert [row["execution_id"] for row in rest] == every[2:]


def test_an_empty_ledger_lists_nothing(capsys, shared_url):
    leasehold.open(shared_url).close()
    assert len(_run(capsys, shared_url, "list").splitlines()) == 1
    assert _run(capsys, shared_url, "list", "--json") == []


def test_show_tells_an_execution_whole(run, story):
    text = run("show", str(story["done"]))
    for piece in (
        f"execution {story['done']}",
        "completed",
        "tags.team",
        "raw_fields.progress_message  on the way",
        "worker-1",
        "success",
        "acquired",
        "renewed ×3",
        '{"rows":2}',
    ):
        assert piece in text


def test_show_as_json_has_rows_attempts_leases_and_summaries(run, story):
    shown = run("show", str(story["done"]), "--json")
    assert shown["execution"]["execution_id"] == str(story["done"])
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["success"]
    kinds = [event["event_type"] for event in shown["lease_events"]]
    assert kinds == ["acquired", "renewed", "renewed", "renewed", "revoked"]
    assert [summary["version"] for summary in shown["summaries"]] == [1]


def test_show_tells_why_an_attempt_failed(run, story):
    assert "no such table" in run("show", str(story["failed"]))


def test_history_is_one_line_for_each_event_in_log_order(run, story):
    lines = run("history", str(story["waiting"])).splitlines()
    assert len(lines) == 2
    assert "execution.created" in lines[1]
    records = run("history", str(story["done"]), "--json", json_lines=True)
    assert [record["topic"] for record in records][:3] == [
        "execution.created",
        "execution.claimed",
        "attempt.started",
    ]
    positions = [record["position"] for record in records]
    assert positions == sorted(positions)
    assert records[0]["event"]["payload"] == {"encoding": "utf-8", "data": "input"}
    assert records[-1]["topic"] == "execution.completed"


def test_history_is_paged_by_position(run, story):
    name = str(story["done"])
    every = run("history", name, "--json", json_lines=True)
    first = run("history", name, "--json", "--limit", "2", json_lines=True)
    after = str(first[-1]["position"])
    rest = run("history", name, "--json", "--after", after, json_lines=True)
    assert first + rest == every


def test_frames_prints_each_line_of_each_frame(run, story):
    lines = run("frames", str(story["done"])).splitlines()
    texts = [line.split("  ", 2)[2] for line in lines]
    assert texts == [
        "first line",
        "second",
        "third",
        "2 bytes: 0xff00",
        '{"rows":2}',
    ]


def test_frames_as_json_gives_the_bytes_and_the_stream_id(run, story):
    rows = run("frames", str(story["done"]), "--json", json_lines=True)
    assert [row["mode"] for row in rows] == ["durable"] * 3 + ["summary"]
    assert rows[2]["payload"] == {"encoding": "base64", "data": "/wA="}
    assert all("-" in row["stream_id"] for row in rows)


def test_frames_of_an_execution_without_an_attempt_says_so(capsys, shared_url, story):
    status = application.run(["frames", str(story["waiting"]), "--store", shared_url])
    printed = capsys.readouterr()
    assert (status, printed.out) == (0, "")
    assert printed.err == "no attempt has started\n"


def test_frames_of_another_attempt_names_those_there_are(capsys, shared_url, story):
    arguments = ["frames", str(story["done"]), "--attempt", "7", "--store", shared_url]
    assert application.run(arguments) == 2
    assert "has no attempt 7; it has 0" in capsys.readouterr().err


def test_follow_ends_with_an_execution_that_has_ended(run, story):
    rows = run("frames", str(story["done"]), "--follow", "--json", json_lines=True)
    assert len(rows) == 4


def test_follow_goes_on_over_a_retry_until_the_execution_ends(shared_url):
    with leasehold.open(shared_url) as ledger:
        execution_id = ledger.create_execution(
            retry_policy=leasehold.RetryPolicy(1, leasehold.Fixed(0))
        )
        following = subprocess.Popen(
            [
                *(sys.executable, "-P", "-c", ENTRY),
                *("frames", str(execution_id), "--follow", "--json"),
                *("--store", shared_url),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with following:
            seen = []
            for attempt_index in range(2):
                handle = ledger.claim(worker_id="worker-1")
                ledger.append_frame(handle, leasehold.Frame(b"one"))
                seen.append(json.loads(following.stdout.readline()))
                ledger.append_frame(handle, leasehold.Frame(b"two"))
                seen.append(json.loads(following.stdout.readline()))
                if attempt_index == 0:
                    ledger.fail(handle, "again", leasehold.FailureClass.TRANSIENT)
            ledger.append_frame(handle, leasehold.Frame(b"last"))
            ledger.complete(handle)
            seen += [json.loads(line) for line in following.stdout]
    assert following.returncode == 0
    assert [(row["attempt_index"], row["payload"]["data"]) for row in seen] == [
        (0, "one"),
        (0, "two"),
        (1, "one"),
        (1, "two"),
        (1, "last"),
    ]


ENTRY = "from leasehold.adapters.command_line.entry import main; main()"


def test_doctor_tells_versions_store_and_counts(run, story):
    report = run("doctor", "--json")
    assert report["versions"].keys() >= {"leasehold", "eventsourcing", "python"}
    assert report["executions"]["completed"] == 1
    assert report["executions"]["running"] == 0
    assert report["lanes"] == ["default", "other"]
    assert report["expired_leases"] == 0
    assert report["store"]["backend"] in {"sqlite", "postgres"}
    assert report["store"]["schema_version"] >= 1
    assert report["store"]["durability"] == "full"
    assert report["store"]["last_position"] == report["store"]["events"] > 0
    text = run("doctor")
    for heading in ("versions", "store", "executions"):
        assert f"{heading}\n" in text


@pytest.mark.parametrize("as_json", [False, True])
def test_control_characters_and_markup_reach_nobody(capsys, shared_url, as_json):
    with leasehold.open(shared_url) as ledger:
        execution_id = ledger.create_execution(
            payload=HOSTILE.encode(), tags={"k": HOSTILE}, actor=HOSTILE
        )
        handle = ledger.claim(worker_id="[red]worker[/red]")
        ledger.progress(handle, 1, HOSTILE)
        ledger.append_frame(handle, leasehold.Frame(HOSTILE.encode()))
        document = json.dumps({"text": HOSTILE}, ensure_ascii=False).encode()
        ledger.append_frame(handle, leasehold.Frame(document, mode=leasehold.Summary()))
        ledger.fail(handle, HOSTILE, leasehold.FailureClass.PERMANENT)
    options = ["--store", shared_url, *(["--json"] if as_json else [])]
    for command in ("list", "show", "history", "frames"):
        name = [] if command == "list" else [str(execution_id)]
        assert application.run([command, *name, *options]) == 0
        printed = capsys.readouterr().out
        assert printed.replace("\n", "").isprintable(), command
        if command == "show":
            assert "[red]worker[/red]" in printed


def test_a_terminal_gets_no_markup_from_stored_text(capsys, shared_url, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with leasehold.open(shared_url) as ledger:
        ledger.create_execution(lane_id="[bold]lane[/bold]", namespace=":smile:")
        execution_id = ledger.create_execution()
        handle = ledger.claim(worker_id="[red]worker[/red]")
        ledger.fail(handle, HOSTILE, leasehold.FailureClass.PERMANENT)
    assert application.run(["list", "--store", shared_url]) == 0
    listed = capsys.readouterr().out
    assert "\x1b[" in listed, "a terminal gets colours"
    assert "[bold]lane[/bold]" in listed
    assert ":smile:" in listed
    assert application.run(["show", str(execution_id), "--store", shared_url]) == 0
    shown = capsys.readouterr().out
    assert "[red]worker[/red]" in shown
    assert "\x1b]0;" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown


def stripped(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_narrow_terminal_leaves_columns_out_and_a_pipe_does_not(
    capsys, shared_url, story, monkeypatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    heads = {}
    for width in ("60", "80", "200"):
        monkeypatch.setenv("COLUMNS", width)
        assert application.run(["list", "--store", shared_url]) == 0
        lines = stripped(capsys.readouterr().out).splitlines()
        assert max(map(len, lines)) <= int(width)
        heads[width] = lines[0].split()
    assert heads["60"] == ["execution_id", "lane_id", "state"]
    assert heads["80"][:4] == ["execution_id", "lane_id", "state", "attempt"]
    assert heads["200"][-1] == "created_at"


def test_escaping_leaves_what_can_be_read_as_it_is():
    assert output.escaped("Grüße, 世界 …") == "Grüße, 世界 …"
    assert output.escaped("a\tb\x1b\x7f\x9b\u202e") == r"a\tb\x1b\x7f\x9b\u202e"
    assert output.escaped("\ud800") == r"\ud800"


def test_times_and_sizes_are_written_for_people():
    assert output.time_text(1_700_000_000_007) == "2023-11-14 22:13:20.007Z"
    assert output.time_text(10**18) == f"{10**18} ms"
    assert output.time_text(None) == "-"
    sizes = [output.size_text(size) for size in (0, 1023, 1536, 5 * 1024**3, 1024**4)]
    assert sizes == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB", "1.0 TiB"]


def test_a_long_value_is_cut_in_a_table_and_whole_in_json(run, capsys, shared_url):
    with leasehold.open(shared_url) as ledger:
        execution_id = ledger.create_execution(payload=b"x" * 100_000)
    assert max(map(len, run("show", str(execution_id)).splitlines())) < 120
    shown = run("show", str(execution_id), "--json")
    assert len(shown["execution"]["payload"]["data"]) == 100_000


def test_reading_leaves_no_trace(run, story, shared_url):
    with leasehold.open(shared_url, read_only=True) as ledger:
        before = ledger.read.events(limit=1_000_000)
    name = str(story["done"])
    for arguments in (["list"], ["show", name], ["history", name], ["doctor"]):
        run(*arguments)
    with leasehold.open(shared_url, read_only=True) as ledger:
        assert ledger.read.events(limit=1_000_000) == before


def test_a_reader_that_goes_away_is_no_error(shared_url):
    with leasehold.open(shared_url) as ledger:
        ledger.create_executions([{}] * 3000)
    listing = subprocess.Popen(
        [sys.executable, "-P", "-c", ENTRY, "list", "--limit", "3000"],
        env={"LEASEHOLD_STORE": shared_url, "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with listing:
        listing.stdout.readline()
        listing.stdout.close()
        complaint = listing.stderr.read()
    assert (listing.returncode, complaint) == (0, "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list", "--help"], ["--version"]], ids=" ".join
)
def test_a_reader_of_the_help_that_goes_away_is_no_error(arguments):
    helping = subprocess.Popen(
        [sys.executable, "-P", "-c", ENTRY, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with helping:
        helping.stdout.close()
        complaint = helping.stderr.read()
    assert (helping.returncode, complaint) == (0, "")


def test_a_command_starts_fast_enough_to_be_typed(shared_url):
    leasehold.open(shared_url).close()
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-P", "-c", ENTRY, "list", "--store", shared_url],
        check=True,
        capture_output=True,
    )
    assert time.monotonic() - began < 5


def test_ids_are_taken_in_any_form_of_a_uuid(run, story):
    name = str(story["done"])
    for form in (name.upper(), uuid.UUID(name).hex):
        assert name in run("show", form)
