"""Meet what is too large, too deep or without an end, in little memory.

Run in a process of its own: `hostile_process.py folder` prints as JSON, by the name of
each case, the code of the error and the bytes read for it. A case that took more memory
than there is says `MemoryError`, and any other error its type.
"""

import io
import json
import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import forging
import material

import leasehold
from leasehold.adapters.command_line import checkpoint_files, moments
from leasehold.domain import merge_patch

MIB = 1 << 20
# A line of a bundle may have 48 MiB, and is read into a buffer that grows.
MEMORY_LEFT = 256 * MIB
MILLION = 1_000_000
DEEP = b"[" * MILLION + b"]" * MILLION
OPEN = b'{"a":' * MILLION
GIANT = 2 << 30


def sparse(path: Path, beginning: bytes) -> Path:
    """Make a file of 2 GiB that takes no room."""
    with path.open("wb") as file:
        file.write(beginning)
        file.truncate(GIANT)
    return path


def bytes_read() -> int:
    """Return how many bytes this process has read, from files of whatever kind."""
    told = dict(
        line.split(": ") for line in Path("/proc/self/io").read_text().splitlines()
    )
    return int(told["rchar"])


def bundle_cases(folder: Path):
    """Give bundles by what is wrong with each, as a source."""
    header, *lines, closing_line = material.bundle().splitlines(keepends=True)
    told = json.loads(closing_line)
    claims = closing_line.replace(
        b'{"events":%d' % told["events"], b'{"events":%d' % 10**9
    )
    first = lines[0].partition(b'"state":')[0] + b'"state":'
    events = forging.loosened(lines)
    for name, value in {"deep": DEEP, "open": OPEN}.items():
        fields = {**events[0].fields, "tags": value.decode()}
        forged = [forging.replace(events[0], fields=fields), *events[1:]]
        yield f"an event that is {name}", io.BytesIO(forging.bundle_of(header, forged))
        yield f"a header that is {name}", io.BytesIO(value + b"\n")
        last = b'{"events":' + value + b"\n"
        yield f"a closing line that is {name}", io.BytesIO(header + last)
    yield "10^9 events claimed", io.BytesIO(b"".join([header, *lines, claims]))
    yield "10^9 events claimed of none", io.BytesIO(header + claims)
    yield "a frame of 2 GiB", sparse(folder / "frame.ndjson", header + first)
    yield "a header of 2 GiB", sparse(folder / "header.ndjson", b'{"bundle":"')


def cases(folder: Path):
    """Give what to call, by name."""
    ledger, _ = material.told("sqlite://")
    empty = leasehold.open("sqlite://")
    for name, source in bundle_cases(folder):
        yield f"bundle: {name}", lambda it=source: empty.import_bundle(it)
    ledger.create_execution(lane_id="fuzz")
    handle = ledger.claim("fuzz", worker_id="w")
    for name, value in {"deep": DEEP, "open": OPEN}.items():
        line = b'{"at_ms":' + value
        yield (
            f"checkpoint: {name}",
            lambda it=line: leasehold.Checkpoint.parse(it),
        )
        summary = leasehold.Frame(value[:MIB], mode=leasehold.Summary())
        yield (
            f"summary: {name}",
            lambda it=summary: ledger.append_frame(handle, it),
        )
        yield f"patch: {name}", lambda it=value: merge_patch.parse_patch(it)
    giant = sparse(folder / "checkpoints", b'{"at_ms":')
    yield "checkpoint: 2 GiB", lambda: checkpoint_files.read_lines(str(giant))
    yield "appending: 2 GiB", lambda: checkpoint_files.check_can_append(str(giant))
    yield "key: 2 GiB", lambda: ledger.checkpoint(signing_key=giant)
    long = "A" * (16 * MIB)
    yield "handle: 16 MiB", lambda: leasehold.Handle.parse(f"sqlite.fresh.{long}")
    yield "grant: 16 MiB", lambda: leasehold.ResumeGrant.parse(long)
    yield "moment: 16 MiB", lambda: moments.parse("9" * 16 * MIB)
    yield "url: 16 MiB", lambda: leasehold.open(f"postgresql://{long}/{'?' * MIB}")
    yield "stored: deep", lambda: stored(folder, DEEP)
    yield "stored: open", lambda: stored(folder, OPEN)


def stored(folder: Path, content: bytes) -> None:
    """Read a log in which an event is deep."""
    path = folder / "ledger.db"
    path.write_bytes(material.stored_file())
    state = b'{"sha256":"%b","schema_version":9,"tags":%b}' % (b"0" * 64, content)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE stored_events SET state = ? WHERE notification_id = 1", [state]
        )
    with leasehold.open(f"sqlite:///{path}") as ledger:
        assert not ledger.verify().ok
        assert not ledger.audit().ok
        ledger.read.events()


def main() -> None:
    """Meet each case, and print what came of it."""
    made = list(cases(Path(sys.argv[1])))
    sizes = Path("/proc/self/statm").read_text().split()
    taken = int(sizes[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_LEFT, taken + MEMORY_LEFT))
    told: dict[str, tuple[str, int]] = {}
    for name, call in made:
        before = bytes_read()
        try:
            call()
        except leasehold.LeaseholdError as error:
            code = error.code
        except Exception as error:  # noqa: BLE001 - what it is, is told
            code = type(error).__name__
        else:
            code = "accepted"
        told[name] = (code, bytes_read() - before)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
