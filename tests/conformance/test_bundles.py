"""Bundles: a history leaves one store and comes into another one."""

import errno
import io
import json
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from bundle_lines import exported
from reading_all import bare_log, everything, tables

import leasehold

UMASK = 0o027


@pytest.fixture
def bundle(told):
    return exported(told)


def ids_of(ledger):
    return [it.execution_id for it in ledger.read.executions(limit=10_000)]


def test_a_bundle_is_what_the_documentation_says(told, bundle) -> None:
    header, *lines, end = map(json.loads, bundle.splitlines())
    assert header.keys() == {
        "bundle",
        "format_version",
        "redacted",
        "schema_versions",
    }
    assert (header["bundle"], header["format_version"]) == ("leasehold", 1)
    assert header["redacted"] is False
    log = told.read.events()
    assert [it["position"] for it in lines] == [it.position for it in log]
    assert [it["state"]["sha256"] for it in lines] == [it.sha256 for it in log]
    assert [it["stream"] for it in lines] == [it.stream_id for it in log]
    assert [it["topic"] for it in lines] == [it.topic for it in log]
    assert [it["version"] for it in lines] == [it.version for it in log]
    assert end["events"] == len(log)
    for line in bundle.splitlines():
        assert line.startswith((b'{"bundle":', b'{"position":', b'{"events":'))


def test_a_summary_tells_what_was_written_and_what_was_taken_in(told, fresh) -> None:
    target = io.BytesIO()
    written = told.export(target)
    assert written.events == len(told.read.events())
    assert written.executions == len(ids_of(told))
    assert written.sha256 == json.loads(target.getvalue().splitlines()[-1])["sha256"]
    assert written.header == leasehold.BundleHeader()
    assert fresh().import_bundle(io.BytesIO(target.getvalue())) == written


def test_the_same_events_give_the_same_bytes(told, bundle, clock, fresh) -> None:
    clock.advance(10_000)
    assert exported(told) == bundle
    assert exported(told, reversed(ids_of(told))) == bundle
    store = fresh()
    store.import_bundle(io.BytesIO(bundle))
    assert exported(store) == bundle


def test_an_empty_store_gets_the_same_positions_and_rows(shared, another) -> None:
    bundle = exported(shared)
    another.import_bundle(io.BytesIO(bundle))
    assert bare_log(another) == bare_log(shared)
    assert tables(another) == tables(shared)
    ids = ids_of(shared)
    assert everything(another.read, ids) == everything(shared.read, ids)
    assert exported(another) == bundle
    assert another.verify().faults == ()
    assert another.checkpoint() == shared.checkpoint()


def test_into_another_store_events_come_at_the_end_in_their_order(
    shared, another, clock
) -> None:
    another.create_execution(lane_id="before", payload=b"there")
    there = bare_log(another)
    another.import_bundle(io.BytesIO(exported(shared)))
    log = bare_log(another)
    assert log[: len(there)] == there
    added, original = log[len(there) :], bare_log(shared)
    assert [row[1:] for row in added] == [row[1:] for row in original]
    positions = [row[0] for row in log]
    assert positions == sorted(set(positions))
    assert another.verify().faults == ()
    for name, rows in tables(shared).items():
        mine = [
            {**row, "event_id": 0} if name == "lease_event" else row
            for row in tables(another)[name]
        ]
        for row in rows:
            assert ({**row, "event_id": 0} if name == "lease_event" else row) in mine
    # A bundle holds positions, so it is another one; its events are the same.
    again = exported(another, ids_of(shared)).splitlines()
    mine = [line.partition(b'"state"')[2] for line in again[1:-1]]
    theirs = exported(shared).splitlines()[1:-1]
    assert mine == [line.partition(b'"state"')[2] for line in theirs]


@pytest.mark.parametrize("is_empty", [True, False])
def test_the_ledger_goes_on_working(shared, another, clock, is_empty) -> None:
    shared.create_execution(lane_id="going")
    handle = shared.claim("going", worker_id="w", lease_ttl_ms=60_000)
    shared.create_execution(lane_id="waiting", payload=b"work")
    if not is_empty:
        another.create_execution()
    another.import_bundle(io.BytesIO(exported(shared)))
    last = another.read.settled_position()
    assert last == bare_log(another)[-1][0]
    assert another.renew(handle).lease_epoch == 1
    another.append_frame(handle, leasehold.Frame(b"f"))
    another.complete(handle, b"done")
    waiting = another.claim("waiting", worker_id="w")
    assert another.read.execution(waiting.execution_id).payload == b"work"
    another.complete(waiting)
    another.create_executions([{}, {}])
    replayed = another.read.execution(ids_of(shared)[0])
    assert replayed is not None
    log = bare_log(another)
    positions = [row[0] for row in log]
    assert positions == sorted(set(positions))
    assert all(position > last for position in positions[positions.index(last) + 1 :])
    assert len(positions) - positions.index(last) - 1 >= 9
    assert another.read.settled_position() == positions[-1]
    assert another.verify().faults == ()


def test_gaps_between_positions_are_kept(told, fresh, clock) -> None:
    chosen = ids_of(told)[2:4]
    store = fresh(clock=clock)
    store.import_bundle(io.BytesIO(exported(told, chosen)))
    expected = sorted(
        it.position for execution_id in chosen for it in told.read.history(execution_id)
    )
    assert [it.position for it in store.read.events()] == expected
    assert store.verify().ok
    store.create_execution()
    assert store.read.settled_position() == expected[-1] + 1


def test_a_chosen_few_come_alone_and_whole(told, fresh) -> None:
    ids = ids_of(told)
    for chosen in ([], ids[:1], ids[3:6], [ids[0], ids[0]], set(ids)):
        store = fresh()
        summary = store.import_bundle(io.BytesIO(exported(told, chosen)))
        assert summary.executions == len(set(chosen))
        assert ids_of(store) == sorted(set(chosen))
        for execution_id in chosen:
            history = told.read.history(execution_id)
            assert store.read.history(execution_id) == history


def test_many_chosen_ones_are_read_off_the_log(ledger, fresh) -> None:
    ids = ledger.create_executions([{} for _ in range(230)])
    bundle = exported(ledger, ids[::2])
    store = fresh()
    assert store.import_bundle(io.BytesIO(bundle)).executions == 115
    assert ids_of(store) == sorted(ids[::2])
    assert exported(store, ids[::2]) == bundle


def test_an_empty_ledger_makes_a_bundle_too(ledger, fresh) -> None:
    bundle = exported(ledger)
    assert len(bundle.splitlines()) == 2
    summary = fresh().import_bundle(io.BytesIO(bundle))
    assert (summary.events, summary.executions) == (0, 0)


def test_an_unknown_execution_is_not_found_and_nothing_is_written(
    told, tmp_path
) -> None:
    target, path = io.BytesIO(), tmp_path / "bundle"
    path.write_bytes(b"old")
    for place in (target, path):
        with pytest.raises(leasehold.NotFoundError):
            told.export(place, [*ids_of(told), uuid.uuid4()])
    assert target.getvalue() == b""
    assert path.read_bytes() == b"old"
    assert [it.name for it in tmp_path.glob("*bundle*")] == ["bundle"]


@pytest.mark.parametrize("wrong", ["x", b"bytes", uuid.UUID(int=1), 5, ["x"], [None]])
def test_wrong_ids_are_named(ledger, wrong) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="execution_ids"):
        ledger.export(io.BytesIO(), wrong)


@pytest.mark.parametrize("wrong", [None, 5, b"path", io.StringIO(), "", "a\0b"])
def test_wrong_places_are_named(ledger, wrong) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="target"):
        ledger.export(wrong)
    with pytest.raises(leasehold.InvalidInputError, match="source"):
        ledger.import_bundle(wrong)


def test_files_that_are_not_open_for_it_are_named(told, tmp_path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as to_write, path.open("rb") as to_read:
        with pytest.raises(leasehold.InvalidInputError, match="open and writable"):
            told.export(to_read)
        with pytest.raises(leasehold.InvalidInputError, match="open and readable"):
            told.import_bundle(to_write)
    for closed_file in (to_write, to_read):
        with pytest.raises(leasehold.InvalidInputError, match="target"):
            told.export(closed_file)
        with pytest.raises(leasehold.InvalidInputError, match="source"):
            told.import_bundle(closed_file)


class Unseekable(io.RawIOBase):
    """A stream that is read once, a few bytes at a time."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.content.readinto(memoryview(buffer)[:5_000])


def test_a_source_may_be_a_path_a_file_or_a_pipe(bundle, fresh, tmp_path) -> None:
    path, pipe = tmp_path / "bundle", tmp_path / "pipe"
    path.write_bytes(bundle)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[bundle])
    writer.start()
    sources = [
        path,
        str(path),
        io.BytesIO(bundle),
        Unseekable(bundle),
        io.BufferedReader(Unseekable(bundle)),
        pipe,
    ]
    for source in sources:
        store = fresh()
        store.import_bundle(source)
        assert exported(store) == bundle
    writer.join()
    with path.open("rb") as file:
        store = fresh()
        store.import_bundle(file)
        assert exported(store) == bundle
        assert not file.closed


def test_a_target_may_be_a_path_or_a_file(told, bundle, tmp_path) -> None:
    for target in (tmp_path / "one", str(tmp_path / "two")):
        told.export(target)
        assert Path(target).read_bytes() == bundle
    with (tmp_path / "three").open("wb") as file:
        told.export(file)
        assert not file.closed
    assert (tmp_path / "three").read_bytes() == bundle


class TakesLittle:
    """A target that takes a part of what it is given, as raw files may."""

    def __init__(self):
        self.content = b""

    def write(self, given):
        taken = bytes(given[:100])
        self.content += taken
        return len(taken)


class TellsNothing(TakesLittle):
    """A target that takes all of it, and does not tell how much that was."""

    def write(self, given):
        self.content += given


@pytest.mark.parametrize("kind", [TakesLittle, TellsNothing])
def test_a_target_gets_all_of_it_however_it_takes_it(kind, told, bundle) -> None:
    target = kind()
    told.export(target)
    assert target.content == bundle


def test_an_error_of_a_file_of_the_callers_is_its_own(told, bundle) -> None:
    class Broken(io.RawIOBase):
        def writable(self):
            return True

        def write(self, given):
            raise OSError(errno.ENOSPC, "full")

        def readable(self):
            return True

        def readinto(self, buffer):
            raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="full"):
        told.export(Broken())
    with pytest.raises(OSError, match="broken"):
        told.import_bundle(Broken())


def test_a_path_is_replaced_as_it_is(told, bundle, tmp_path) -> None:
    old, link = tmp_path / "old", tmp_path / "link"
    old.write_bytes(b"old")
    old.chmod(0o640)
    link.symlink_to(old)
    told.export(link)
    assert link.is_symlink()
    assert old.read_bytes() == bundle
    assert old.stat().st_mode & 0o777 == 0o640
    before = os.umask(UMASK)
    try:
        told.export(tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o666 & ~UMASK
    assert {it.name for it in tmp_path.iterdir()} >= {"old", "link", "new"}
    assert not [it for it in tmp_path.iterdir() if it.name.startswith(".leasehold")]


def test_a_file_is_on_the_disk_before_it_takes_its_place(
    told, tmp_path, monkeypatch
) -> None:
    path, there = tmp_path / "bundle", []
    monkeypatch.setattr(os, "fsync", lambda _: there.append(path.exists()))
    told.export(path)
    assert (there, path.exists()) == ([False], True)


def test_a_device_is_written_to_and_stays_one(told) -> None:
    told.export(os.devnull)
    assert not Path(os.devnull).is_file()


def test_a_place_that_cannot_be_written_or_read_is_named(told, tmp_path) -> None:
    for place in (tmp_path / "no" / "bundle", tmp_path):
        with pytest.raises(leasehold.StoreError, match=tmp_path.name):
            told.export(place)
        with pytest.raises(leasehold.StoreError, match=tmp_path.name):
            told.import_bundle(place)


def test_a_write_that_fails_leaves_the_old_file(told, tmp_path) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(b"old")

    def interrupt(done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        told.export(path, progress=interrupt)
    assert path.read_bytes() == b"old"
    assert not [it for it in tmp_path.iterdir() if it.name.startswith(".leasehold")]


def test_a_damaged_event_is_told_and_the_old_file_stands(
    shared, outsider, tmp_path
) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(b"old")
    outsider.lift_the_guard()
    rows = outsider.execute("SELECT * FROM stored_events ORDER BY notification_id")
    restore = "UPDATE stored_events SET state = ?, topic = ? WHERE notification_id = ?"
    for row in (rows[0], rows[30], rows[-1]):
        position, state = row["notification_id"], row["state"]
        flipped = bytearray(state)
        flipped[-10] ^= 1
        for damaged, topic in (
            (b"x", row["topic"]),
            (b"", row["topic"]),
            (bytes(flipped), row["topic"]),
            (state + b"\n", row["topic"]),
            (state[:76] + b"\n" + state[76:], row["topic"]),
            (state, "no.topic"),
            (state, "é"),
        ):
            outsider.execute(restore, damaged, topic, position)
            for redact in (False, True):
                with pytest.raises(leasehold.StoreError) as caught:
                    shared.export(path, redact=redact)
                assert caught.value.code == "corrupt_event"
                assert f"position {position} " in str(caught.value)
        outsider.execute(restore, state, row["topic"], position)
    assert path.read_bytes() == b"old"


def test_an_event_that_is_missing_is_told_on_export(shared, outsider) -> None:
    outsider.lift_the_guard()
    outsider.execute("DELETE FROM stored_events WHERE notification_id = 2")
    with pytest.raises(leasehold.StoreError) as caught:
        exported(shared)
    assert caught.value.code == "corrupt_event"
    assert "version 3 " in str(caught.value)
    assert "missing" in str(caught.value)


def test_a_known_execution_or_key_is_refused_and_nothing_is_written(
    shared, another
) -> None:
    shared.create_execution(lane_id="last", idempotency_key="mine", namespace="n")
    bundle = exported(shared)
    everything_else = exported(shared, ids_of(shared)[:-1])
    another.create_execution(idempotency_key="mine", namespace="n")
    before = bare_log(another), tables(another)
    with pytest.raises(leasehold.ConflictError, match="mine"):
        another.import_bundle(io.BytesIO(bundle))
    assert (bare_log(another), tables(another)) == before
    another.import_bundle(io.BytesIO(everything_else))
    before = bare_log(another), tables(another)
    for again in (everything_else, exported(shared, ids_of(shared)[3:4])):
        with pytest.raises(leasehold.ConflictError, match="already"):
            another.import_bundle(io.BytesIO(again))
        assert (bare_log(another), tables(another)) == before
    assert another.verify().ok


def test_the_same_key_in_another_namespace_is_no_conflict(ledger, fresh) -> None:
    ledger.create_execution(idempotency_key="key", namespace="one")
    store = fresh()
    store.create_execution(idempotency_key="key", namespace="other")
    store.import_bundle(io.BytesIO(exported(ledger)))
    assert len(ids_of(store)) == 2


def test_both_tell_how_far_they_are(told, bundle, fresh) -> None:
    for call in (
        lambda tell: told.export(io.BytesIO(), progress=tell),
        lambda tell: fresh().import_bundle(io.BytesIO(bundle), progress=tell),
    ):
        seen = []
        summary = call(lambda *told, seen=seen: seen.append(told))
        assert [done for done, _ in seen] == [*range(1, summary.events + 1)]
        assert all(done <= total for done, total in seen)


def test_a_redacted_export_tells_of_both_passes(told) -> None:
    seen = []
    summary = told.export(io.BytesIO())
    told.export(io.BytesIO(), redact=True, progress=lambda *it: seen.append(it))
    assert [done for done, _ in seen] == [*range(1, 2 * summary.events + 1)]
    assert all(2 * summary.events <= total for _, total in seen)


def test_a_ledger_to_be_read_only_exports_and_does_not_import(
    shared, shared_url
) -> None:
    bundle = exported(shared)
    with leasehold.open(shared_url, read_only=True) as reader:
        assert exported(reader) == bundle
        with pytest.raises(leasehold.StoreError, match="read"):
            reader.import_bundle(io.BytesIO(bundle))


def test_writers_and_an_import_keep_out_of_each_others_way(
    shared, another, another_url
) -> None:
    """Into an empty store: whoever comes first, all events are there, in order."""
    bundle = exported(shared)
    stop, created = threading.Event(), []

    def write():
        with leasehold.open(another_url, durability="normal") as ledger:
            while not stop.is_set():
                created.append(ledger.create_execution())

    writer = threading.Thread(target=write)
    writer.start()
    with suppress(leasehold.ConflictError):
        another.import_bundle(io.BytesIO(bundle))
    stop.set()
    writer.join()
    ids = ids_of(another)
    assert set(ids) == {*created, *ids_of(shared)}
    assert another.verify().faults == ()
    positions = [row[0] for row in bare_log(another)]
    assert positions == sorted(set(positions))
