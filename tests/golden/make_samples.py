"""Make samples of what this version stores: `python tests/golden/make_samples.py`.

An event type that has no sample of its current schema version gets one. With
`--log NAME` the whole log of the story is kept too. Each log gets the rows that the
current version of the projections makes of it, where they are not there. What is
there is never overwritten. A process makes samples once, because it counts refusals.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from golden_files import (
    HERE,
    Sample,
    StoredEvent,
    log_of,
    log_text,
    read_log,
    restore,
    rows_of,
    store_in_memory,
    write_new,
)
from golden_story import StoryClock, story_draws, tell_story

from leasehold.adapters import codec
from leasehold.adapters.ledger import Ledger
from leasehold.domain.catalogue import BY_TOPIC, EVENT_TYPES
from leasehold.projections.registry import PROJECTION_VERSION


def record_story() -> list[StoredEvent]:
    """Tell the story to a real store and return its log."""
    clock = StoryClock()
    with store_in_memory(clock) as store:
        tell_story(Ledger(store, story_draws()), clock)
        return log_of(store)


def samples_of(log: list[StoredEvent]) -> Iterator[Sample]:
    """Return of each event type the fullest event in a log."""
    heads: dict[str, str] = {}
    fullest: dict[str, Sample] = {}
    for stored in log:
        previous = heads.get(stored.originator_id, codec.FIRST_HASH)
        sample = Sample(stored, previous)
        best = fullest.get(stored.topic)
        if best is None or fields_in(sample) > fields_in(best):
            fullest[stored.topic] = sample
        heads[stored.originator_id] = stored.decode().sha256
    missing = BY_TOPIC.keys() - fullest.keys()
    assert not missing, f"the story has no {sorted(missing)}"
    return (fullest[event_type.TOPIC] for event_type in EVENT_TYPES)


def fields_in(sample: Sample) -> int:
    """Count the members of a stored state."""
    return len(json.loads(sample.stored.state))


def rows_path(log: Path) -> Path:
    """Name the rows that the projections make of a log."""
    return log.with_suffix(f".rows.v{PROJECTION_VERSION}.json")


def rows_text(log: list[StoredEvent]) -> str:
    """Write the rows that the projections make of a log."""
    with store_in_memory() as store:
        restore(store, log)
        rows = rows_of(store)
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def make_samples(folder: Path, log_name: str | None) -> list[Path]:
    """Write what is missing in a folder and return its paths.

    Raises:
        FileExistsError: There is a log of that name.
    """
    written = []
    story = record_story()
    if log_name is not None:
        path = folder / "logs" / f"{log_name}.ndjson"
        write_new(path, log_text(story))
        written.append(path)
    for sample in samples_of(story):
        path = folder / "events" / sample.name
        if not path.exists():
            write_new(path, sample.text())
            written.append(path)
    for log in sorted((folder / "logs").glob("*.ndjson")):
        path = rows_path(log)
        if not path.exists():
            write_new(path, rows_text(read_log(log)))
            written.append(path)
    return written


def main() -> None:
    """Write what is missing and say what that was."""
    parser = argparse.ArgumentParser(description="Make golden samples.")
    parser.add_argument("--log", metavar="NAME", help="keep the story's log as NAME")
    parser.add_argument("--into", metavar="FOLDER", type=Path, default=HERE)
    arguments = parser.parse_args()
    try:
        written = make_samples(arguments.into, arguments.log)
    except FileExistsError as error:
        sys.exit(f"{error.filename} is there; samples are never overwritten")
    for path in written:
        print(path.relative_to(arguments.into).as_posix())


if __name__ == "__main__":
    main()
