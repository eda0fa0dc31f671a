"""What is fuzzed: each takes bytes, and raises where a promise is broken.

Whatever comes from outside is either taken, and then serves in every way that it is
there for, or refused with an error of the contract. An error of another kind goes
through, and both fuzzers report it.
"""

from __future__ import annotations

import io
import re
import struct
import tempfile
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import forging
import material
from choices import Choices
from damage import damaged_store

import leasehold
from leasehold.adapters import checkpoints, codec, ed25519, opening, signing
from leasehold.adapters.command_line import (
    checkpoint_files,
    moments,
    store_urls,
    wording,
)
from leasehold.adapters.postgres.target import parse_url
from leasehold.domain import merge_patch
from leasehold.domain.catalogue import EVENT_TYPES
from leasehold.domain.handles import check_handle
from leasehold.projections.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECRET = "p4ssw0rd"
SHORT = 40
PASSWORD = re.compile(rf"postgres(ql)?://[^/?@:]*:{SECRET}@")


@dataclass(frozen=True)
class Target:
    """Something that takes what comes from outside.

    Attributes:
        run: Raises what is no error of the contract.
        seeds: Gives what is good, to begin with.
        reads_bytes: Whether the bytes are what is read, and not choices of what to do.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    reads_bytes: bool = True


def text_of(data: bytes) -> str:
    """Read text, as a shell or a database hands over what is no UTF-8."""
    return data.decode(errors="surrogateescape")


def refusal(
    call: Callable[[], object], *expected: type[leasehold.LeaseholdError]
) -> leasehold.LeaseholdError | None:
    """Make a call; return the error that it was refused with, if it was."""
    try:
        call()
    except expected as error:
        return error
    return None


def handle(data: bytes) -> None:
    """A token is read and comes back the same, or is corrupt."""
    text = text_of(data)
    for kind in (leasehold.Handle, leasehold.ResumeGrant):
        try:
            parsed = kind.parse(text)
        except leasehold.InvalidInputError:
            continue
        assert str(parsed) == text
        assert kind.parse(str(parsed)) == parsed
    lease_bytes(data)


def lease_bytes(data: bytes) -> None:
    """The bytes of a lease are read or corrupt, also with the checksum right."""
    packed = data + struct.pack(">I", zlib.crc32(data))
    for opaque in (data, packed):
        made = leasehold.Handle(
            leasehold.BackendTag.SQLITE, leasehold.HandleKind.FRESH, opaque
        )
        error = refusal(
            partial(check_handle, made, leasehold.BackendTag.SQLITE),
            leasehold.InvalidInputError,
        )
        if error is not None:
            assert error.code == "corrupt_handle"
            continue
        assert made.lease_epoch >= 1
        assert leasehold.Handle.parse(str(made)) == made


def checkpoint(data: bytes) -> None:
    """A line is a checkpoint that makes the same line, or is refused; so is a file."""
    for line in (data, text_of(data)):
        try:
            parsed = leasehold.Checkpoint.parse(line)
        except leasehold.InvalidInputError:
            continue
        assert leasehold.Checkpoint.parse(str(parsed)) == parsed
        assert parsed.shown
        refusal(
            partial(signing.check_signatures, [parsed], material.keys()[2]),
            leasehold.InvalidInputError,
        )
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for call in (
            lambda: checkpoints.parse_all(checkpoint_files.read_lines(file.name)),
            lambda: checkpoint_files.check_can_append(file.name),
        ):
            refusal(call, leasehold.InvalidInputError)


def stored_event(data: bytes) -> None:
    """What decodes can be told, taken for good, projected and told in words."""
    choices = Choices(data)
    topic = choices.one_of(EVENT_TYPES).TOPIC
    content = choices.rest()
    stream = "018bcfe5-6800-7000-8000-000000000001"
    sha256 = codec.hash_of(codec.FIRST_HASH, stream, 1, topic, content)
    for state in (content, b'{"sha256":"%b",%b' % (sha256.encode(), content[1:])):
        decoded = partial(codec.decode, 1, stream, 1, topic, state)
        error = refusal(decoded, leasehold.StoreError)
        if error is not None:
            assert error.code == "corrupt_event"
            continue
        recorded = decoded()
        again, _ = codec.encode(recorded.event, stream, 1, codec.FIRST_HASH)
        assert codec.decode(1, stream, 1, topic, again).event == recorded.event
        wording.story_of(recorded, wording.Holders())
        error = refusal(partial(Tables().project, recorded), leasehold.StoreError)
        assert error is None or error.code == "corrupt_event"


def bundle(data: bytes) -> None:
    """Bytes are a bundle that gives the same bytes, or nothing is imported."""
    with leasehold.open("sqlite://", durability="normal") as ledger:
        if imported(ledger, data):
            assert exported(ledger) == data


def forged_bundle(data: bytes) -> None:
    """What gets into a store by a bundle can be read, proven, replayed and told."""
    choices = Choices(data)
    header, *events, _ = choices.one_of(material.bundles_of_executions()).splitlines(
        keepends=True
    )
    forged = forging.edited(forging.loosened(events), choices)
    made = forging.bundle_of(header, forged)
    with leasehold.open("sqlite://", durability="normal") as ledger:
        if not imported(ledger, made):
            return
        assert exported(ledger) == made
        serves(ledger)


def imported(ledger: leasehold.Ledger, data: bytes) -> bool:
    """Import a bundle; say whether it was taken, and see that else nothing was."""
    error = refusal(
        lambda: ledger.import_bundle(io.BytesIO(data)),
        leasehold.InvalidInputError,
        leasehold.StoreError,
    )
    if error is not None:
        assert not error.retryable
        assert ledger.read.events() == []
    return error is None


def exported(ledger: leasehold.Ledger) -> bytes:
    """Return the bundle of all that there is."""
    target = io.BytesIO()
    ledger.export(target)
    return target.getvalue()


def serves(ledger: leasehold.Ledger) -> None:
    """Do all that can be done with a history."""
    report = ledger.verify()
    assert report.ok, report
    assert ledger.rebuild() == []
    ledger.export(io.BytesIO(), redact=True)
    ledger.audit()
    ledger.metrics()
    read = ledger.read
    read.tenures()
    read.lease_events()
    read.expired_leases()
    read.counts()
    settled = read.settled_position()
    ledger.diff(0, settled)
    for row in read.executions():
        for recorded in read.history(row.execution_id):
            wording.story_of(recorded, wording.Holders())
        ledger.why(row.execution_id, "public_state")
        for attempt in read.attempts(row.execution_id):
            read.summary(row.execution_id, attempt.attempt_index)
            read.frames(row.execution_id, attempt.attempt_index)
    with ledger.as_of(settled) as then:
        then.executions()
    for lane in read.lanes():
        act(ledger, lane)


def act(ledger: leasehold.Ledger, lane: str) -> None:
    """Claim what there is and end it."""

    def work() -> None:
        claimed = ledger.claim(lane, worker_id="fuzz")
        if claimed is not None:
            ledger.renew(claimed)
            ledger.complete(claimed)
        ledger.sweep()

    refusal(work, leasehold.LeaseholdError)


def damaged(data: bytes) -> None:
    """A log that was changed by hand is told of, and raises no bare error."""
    with damaged_store(Choices(data)) as url:
        try:
            with leasehold.open(url, durability="normal") as ledger:
                ledger.verify()
                ledger.audit()
                wounded(ledger)
        except leasehold.StoreError:
            return


def wounded(ledger: leasehold.Ledger) -> None:
    """Do what a person does with a log that is damaged."""
    calls: list[Callable[[], object]] = [
        lambda: ledger.export(io.BytesIO()),
        lambda: ledger.export(io.BytesIO(), redact=True),
        ledger.checkpoint,
        lambda: ledger.diff(0, 3),
        ledger.read.tenures,
        ledger.read.events,
        ledger.rebuild,
        ledger.read.counts,
        *(
            lambda row=row: ledger.read.history(row.execution_id)  # type: ignore[misc]
            for row in ledger.read.executions()
        ),
    ]
    for call in calls:
        refusal(call, leasehold.StoreError, leasehold.InvalidInputError)
    for lane in ledger.read.lanes():
        act(ledger, lane)


def url(data: bytes) -> None:
    """A url names a store or is refused, and its password is told to nobody."""
    text = text_of(data)
    for check in (
        store_urls.check_url,
        opening._sqlite_path,
        lambda it: parse_url(it, "full", read_only=False).shown,
        store_urls.names_a_schema,
    ):
        try:
            told = check(text)
        except leasehold.InvalidInputError as error:
            told = error
        assert SECRET not in str(told) or not holds_a_password(text)
    if text.startswith(("postgresql://", "postgres://")):
        store_urls.shown(text)


def holds_a_password(text: str) -> bool:
    """Say whether the secret stands where a url has a password, and nowhere else."""
    return PASSWORD.match(text) is not None and text.count(SECRET) == 1


def moment(data: bytes) -> None:
    """What people type for a place in the log is read and can be said again."""
    for parse in (moments.parse, moments.parse_time):
        try:
            told = parse(text_of(data))
        except leasehold.InvalidInputError:
            continue
        assert isinstance(str(told), str)


def key(data: bytes) -> None:
    """A key is read or refused, and the message shows nothing of it."""
    for read in (ed25519.private_key, ed25519.public_key):
        error = refusal(partial(read, data, "the key"), leasehold.InvalidInputError)
        said = "" if error is None else str(error)
        shown = [line for line in data.splitlines() if len(line) > SHORT]
        assert not any(line in said.encode() for line in shown)


def summary(data: bytes) -> None:
    """What a summary takes is stored as JSON that reads the same, or is refused."""
    try:
        patch = merge_patch.parse_patch(data)
        merged = merge_patch.apply({"a": {"b": 1}}, patch, null_sentinel="__ff_null__")
        text = merge_patch.canonical_json(merged)
        merge_patch.check_document_size(text)
    except leasehold.InvalidInputError:
        return
    assert merge_patch.canonical_json(merge_patch.json.loads(text)) == text


def encoded(*texts: str) -> list[bytes]:
    """Return texts as bytes."""
    return [text.encode() for text in texts]


def event_seeds() -> list[bytes]:
    """Return the events of the story, each behind the choice of its topic."""
    topics = [event_type.TOPIC for event_type in EVENT_TYPES]
    _, *lines, _ = material.bundle().splitlines()
    return [
        bytes([topics.index(event.topic)]) + event.content
        for event in forging.loosened(lines)
    ]


TARGETS: dict[str, Target] = {
    "handle": Target(handle, lambda: encoded(*material.tokens())),
    "checkpoint": Target(checkpoint, material.checkpoints),
    "stored_event": Target(stored_event, event_seeds),
    "bundle": Target(bundle, material.bundles_of_executions),
    "forged_bundle": Target(
        forged_bundle, lambda: [bytes(9), bytes(range(40))], reads_bytes=False
    ),
    "damaged": Target(damaged, lambda: [bytes(9), bytes(range(40))], reads_bytes=False),
    "url": Target(
        url,
        lambda: encoded(
            "sqlite://",
            "sqlite:///a/b.db",
            f"postgresql://user:{SECRET}@[::1]:5432,host/name?schema=a&pool_size=2",
            f"postgres://user:{SECRET}@host/?sslmode=require&password=x%20y",
        ),
    ),
    "moment": Target(
        moment,
        lambda: encoded(
            "now",
            "12",
            "@1735722040000",
            "2025-01-01T09:00:40.123+02:00",
            "20250101T0900Z",
        ),
    ),
    "key": Target(key, material.keys),
    "summary": Target(
        summary, lambda: encoded('{"a":{"b":null},"c":[1.5,"x"],"d":"__ff_null__"}')
    ),
}
