"""What was once stored can be read for ever: one sample per event and version."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from golden_files import HERE, Sample, write_new

from leasehold.adapters import codec
from leasehold.domain import streams
from leasehold.domain.catalogue import BY_TOPIC, EVENT_TYPES
from leasehold.projections.registry import PROJECTION_VERSION

EVENTS = HERE / "events"
PATHS = sorted(EVENTS.glob("*.json"))
CURRENT = [EVENTS / f"{each.TOPIC}.v{each.SCHEMA_VERSION}.json" for each in EVENT_TYPES]

each_sample = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_every_event_has_a_sample_of_every_version() -> None:
    expected = {
        f"{each.TOPIC}.v{version}.json"
        for each in EVENT_TYPES
        for version in range(1, each.SCHEMA_VERSION + 1)
    }
    assert {path.name for path in EVENTS.iterdir()} == expected


@each_sample
def test_a_sample_is_of_the_event_and_version_that_its_name_says(path) -> None:
    assert Sample.read(path).name == path.name


@each_sample
def test_a_sample_decodes_to_its_event(path) -> None:
    stored = Sample.read(path).stored
    recorded = stored.decode()
    assert type(recorded.event) is BY_TOPIC[stored.topic]
    assert (
        streams.of_event(recorded.event, recorded.event.execution_id)
        == stored.originator_id
    )
    assert recorded.recorded_at_ms == json.loads(stored.state)["occurred_at_ms"]


@each_sample
def test_the_hash_of_a_sample_is_right(path) -> None:
    sample = Sample.read(path)
    stored, state = sample.stored, sample.stored.state.encode()
    head = f"{stored.originator_id}\0{stored.originator_version}\0{stored.topic}\0"
    chained = bytes.fromhex(sample.previous_sha256) + head.encode()
    digest = hashlib.sha256(chained + b"{" + state[77:]).hexdigest()
    assert json.loads(state)["sha256"] == digest
    assert stored.decode().sha256 == digest


@pytest.mark.parametrize("path", CURRENT, ids=lambda path: path.stem)
def test_a_sample_of_the_current_version_is_written_the_same_again(path) -> None:
    sample = Sample.read(path)
    stored = sample.stored
    state, sha256 = codec.encode(
        stored.decode().event,
        stored.originator_id,
        stored.originator_version,
        sample.previous_sha256,
    )
    assert state == stored.state.encode()
    assert sha256 == stored.decode().sha256


def make(folder, *arguments):
    """Run the script in a process of its own."""
    script = HERE / "make_samples.py"
    return subprocess.run(
        [sys.executable, script, "--into", folder, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make everything in an empty folder; give it with the names of what was made."""
    folder = tmp_path_factory.mktemp("made")
    ran = make(folder, "--log", "story")
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stdout.split()


def test_an_empty_folder_gets_a_sample_of_each_event_and_the_log(made) -> None:
    folder, names = made
    assert sorted(names) == sorted(
        [f"events/{path.name}" for path in CURRENT]
        + ["logs/story.ndjson", f"logs/story.rows.v{PROJECTION_VERSION}.json"]
    )
    assert all((folder / name).is_file() for name in names)


def test_only_what_is_missing_is_made_and_nothing_is_overwritten(
    made, tmp_path
) -> None:
    folder, names = made
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    missing = next(name for name in names if name.startswith("events/"))
    for name in names:
        path = tmp_path / name
        if name == missing:
            path.unlink()
        elif path.suffix == ".json":
            path.write_text("kept")
    assert make(tmp_path).stdout.split() == [missing]
    assert (tmp_path / missing).read_bytes() == (folder / missing).read_bytes()
    kept = {name for name in names if (tmp_path / name).read_text("utf-8") == "kept"}
    assert kept == {name for name in names if name.endswith(".json")} - {missing}


def test_a_log_of_the_same_name_is_refused(made, tmp_path) -> None:
    log = tmp_path / "logs" / "story.ndjson"
    write_new(log, "kept")
    ran = make(tmp_path, "--log", "story")
    assert ran.returncode != 0
    assert "never overwritten" in ran.stderr
    assert log.read_text() == "kept"
    with pytest.raises(FileExistsError):
        write_new(log, "other")


def test_the_story_comes_out_the_same_every_time(made, tmp_path) -> None:
    folder, names = made
    assert make(tmp_path, "--log", "story").stdout.split() == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
