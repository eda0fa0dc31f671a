"""The examples of the docs, run as their readers run them, on both databases.

The long job, which starts two more processes, runs on PostgreSQL with
`LEASEHOLD_EXAMPLES=all` only.

What they print is held against the page, with numbers and the names of the workers who
may take a piece of work left open, and what they leave against the store.
"""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

import leasehold
from leasehold import PublicState

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
NAMES = ["asyncio_service", "cron_submitter", "long_job", "media_pipeline"]
IS_ALL = os.environ.get("LEASEHOLD_EXAMPLES") == "all"
STORES = ["file", "postgres"]
OPEN = re.compile(r"\d+|\b(?:tower|laptop|archive)\b| +")
# Whether these come depends on how soon a worker begins with what is cancelled.
MAY_BE_MISSING = ("a handler of", "warning: ")
WITHIN_S = 120


def load(name):
    """Load an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Run:
    """An example at work on a store: the one that it is given, or its own file."""

    def __init__(self, name, url, folder):
        self.name = name
        self.url = url
        self._printed = None
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"]
            + ([] if url.startswith("sqlite") else [url]),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def printed(self):
        """What it printed, once it has ended, and well."""
        if self._printed is None:
            self._printed, complaints = self._process.communicate(timeout=WITHIN_S)
            assert self._process.returncode == 0, self._printed + complaints
        return self._printed

    def end(self):
        """Leave nothing running."""
        self._process.kill()
        self._process.communicate()


def on_file(name, folder):
    """Run an example on the file that it makes."""
    return Run(name, f"sqlite:///{folder / name}.db", folder)


@pytest.fixture(scope="module", params=STORES)
def runs(request, tmp_path_factory):
    """Start them all on each store in turn: most of their time they wait."""
    folder = tmp_path_factory.mktemp("examples")
    if request.param == "file":
        runs = [on_file(name, folder) for name in NAMES]
    else:
        server = request.getfixturevalue("postgres")
        names = [name for name in NAMES if IS_ALL or name != "long_job"]
        runs = [Run(name, server.name(), folder) for name in names]
    yield {run.name: run for run in runs}
    for run in runs:
        run.end()
        if request.param == "postgres":
            server.drop(run.url)


def shapes_of(text):
    return {OPEN.sub("·", line).strip() for line in text.splitlines()}


def not_printed(name, printed):
    """Return what the page shows of an example and it did not print."""
    section = PAGE.partition(f"](examples/{name}.py)")[2].partition("\n## ")[0]
    (output,) = re.findall(
        r"^```text\n((?:(?!```).*\n)*audit: ok\n)```$", section, re.MULTILINE
    )
    missing = shapes_of(output) - shapes_of(printed)
    return {line for line in missing if not line.startswith(MAY_BE_MISSING)}


def test_an_example_prints_what_the_page_shows(runs):
    for name, run in runs.items():
        assert not not_printed(name, run.printed), name


def test_the_example_media_pipeline(runs):
    example = load("media_pipeline")
    assert runs["media_pipeline"].printed
    with leasehold.open(runs["media_pipeline"].url, read_only=True) as ledger:
        rows = {row.execution_id: row for row in ledger.read.executions()}
        names = {it: (row.tags["film"], row.tags["stage"]) for it, row in rows.items()}
        began = {}
        for tenure in ledger.read.tenures():
            name = names[tenure.execution_id]
            needed = set(example.STAGES[name[1]].capabilities)
            assert needed <= set(example.WORKERS[tenure.worker_id])
            began.setdefault(name, tenure.event_id)
        ended = {
            names[recorded.event.execution_id]: recorded.position
            for recorded in ledger.read.events(topics=["execution.completed"])
        }
        outcomes = {
            name: [attempt.outcome for attempt in ledger.read.attempts(execution_id)]
            for execution_id, name in names.items()
        }
    assert ended.keys() == set(product(["heron", "newsreel", "tern"], example.STAGES))
    for film, stage in ended:
        for before in example.STAGES[stage].after:
            assert ended[film, before] < began[film, stage]
    # On PostgreSQL claims of the same moment are recorded in any order.
    if runs["media_pipeline"].url.startswith("sqlite"):
        assert min(began, key=began.get) == ("newsreel", "probe")
    assert set(names.values()) - ended.keys() == {("noise", "probe")}
    assert outcomes["noise", "probe"] == ["failed"]
    assert "retry" in outcomes["heron", "video"]


def test_a_pipeline_that_was_killed_is_finished_and_then_has_nothing_to_do(
    file_url, capsys
):
    """It dies after a stage was completed and before the next one is submitted."""
    example = load("media_pipeline")
    with leasehold.open(file_url) as ledger:
        ledger.create_execution(**example.execution_of("heron", "probe", {}))
        handle = ledger.claim(example.LANE, worker_id="archive")
        ledger.complete(handle, b"probe(heron)")
    assert example.main(file_url)
    with leasehold.open(file_url, read_only=True) as ledger:
        results = {row.result for row in ledger.read.executions()}
        position = ledger.read.settled_position()
    told = capsys.readouterr().out
    assert b"package(audio(probe(heron)),video(probe(heron)))" in results

    assert example.main(file_url)
    with leasehold.open(file_url, read_only=True) as ledger:
        assert ledger.read.settled_position() == position
    assert told.endswith(capsys.readouterr().out)


@pytest.mark.parametrize("runs", STORES if IS_ALL else STORES[:1], indirect=True)
def test_the_example_long_job(runs):
    example = load("long_job")
    printed = runs["long_job"].printed
    with leasehold.open(runs["long_job"].url, read_only=True) as ledger:
        (job,) = ledger.read.executions()
        tenures = ledger.read.tenures(job.execution_id)
        frames = [
            json.loads(frame.payload)
            for index in range(job.attempt_index + 1)
            for frame in ledger.read.frames(job.execution_id, index)
        ]
    assert (job.public_state, job.result) == ("completed", example.result_wanted())
    assert [made["number"] for made in frames] == list(range(1, example.PICTURES + 1))
    assert re.findall(r"picture +(\d+): ", printed) == [
        str(made["number"]) for made in frames
    ]
    assert [it.lease_epoch for it in tenures] == list(range(1, len(tenures) + 1))
    # A machine that stalls may lose the lease more often; its holder takes it again.
    by = [it.worker_id for it in tenures]
    assert by == sorted(by)
    assert set(by) == {"amber", "birch"}
    assert {it.ended_by for it in tenures[:-1]} == {"expired"}
    assert (tenures[-1].acquired_by, tenures[-1].ended_by) == ("reclaim", "completed")


def test_the_example_asyncio_service(runs):
    assert runs["asyncio_service"].printed
    with leasehold.open(runs["asyncio_service"].url, read_only=True) as ledger:
        rows = ledger.read.executions("shouting")
        (cancelled,) = [it for it in rows if it.public_state is PublicState.CANCELLED]
        told = ledger.read.history(cancelled.execution_id)
        results = sorted((it.result or b"").count(b"HELLO") for it in rows)
    assert results == [0, 1, 2, 3, 1_000]
    (cancellation,) = [it.event for it in told if it.topic == "execution.cancelled"]
    assert (cancellation.actor, cancellation.reason) == (
        "service",
        "the client hung up",
    )


NO_REQUESTS = [
    b"\n",
    b"nonsense\n",
    b"[]\n",
    b"[" * 60_000 + b"\n",
    b'{"id": "1"}\n',
    b'{"id": "1", "text": 5}\n',
    b'{"id": "", "text": "hello"}\n',
    b'{"id": "1", "text": "\\ud800"}\n',
]


def test_the_service_refuses_what_is_no_request_and_goes_on(file_url):
    example = load("asyncio_service")

    async def answer_to(port, line):
        streams = await asyncio.open_connection(example.HOST, port)
        streams[1].write(line)
        return (await example.hear_all(streams))["status"]

    async def talk():
        async with example.serving(file_url, word_s=0) as port:
            refused = [await answer_to(port, line) for line in NO_REQUESTS]
            return refused, await example.ask(port, "1", "hello")

    refused, answer = asyncio.run(talk())
    assert refused == ["refused"] * len(NO_REQUESTS)
    assert answer == {"status": "completed", "result": "HELLO"}


def test_the_example_cron_submitter(runs):
    example = load("cron_submitter")
    assert runs["cron_submitter"].printed
    with leasehold.open(runs["cron_submitter"].url, read_only=True) as ledger:
        rows = ledger.read.executions(example.LANE)
        created = ledger.read.events(topics=["execution.created"])
    slots = sorted(int(row.tags["slot_ms"]) for row in rows)
    assert len(slots) == len(created) == example.SLOTS_MISSED + example.SLOTS_TO_COME
    assert slots == list(range(slots[0], slots[-1] + 1, 250))
    for row in rows:
        assert row.result == b"rolled up to " + row.payload


def test_a_submitter_goes_on_where_another_one_submitted_otherwise(file_url, capsys):
    example = load("cron_submitter")
    schedule = example.Schedule("rollup", every_ms=1_000)
    with leasehold.open(file_url) as ledger:
        ledger.create_execution(
            lane_id=example.LANE,
            payload=b"of another version",
            idempotency_key="rollup@1970-01-01T00:00:02.000Z",
            namespace="cron",
        )
        submitted = example.keep_submitting(file_url, schedule, 0, 3_000)
        slots = [ledger.read.execution(it).tags["slot_ms"] for it in submitted]
    assert slots == ["1000", "3000"]
    assert "rollup is submitted by somebody otherwise" in capsys.readouterr().out
