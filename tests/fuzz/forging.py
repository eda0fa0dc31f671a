"""Bundles of events that no ledger wrote, with every hash and the digest right.

Who makes a bundle by hand gets past the hashes; what stands in it is then all that
protects a store.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leasehold.adapters import codec
from leasehold.domain.catalogue import BY_TOPIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from choices import Choices

EDITS_MAX = 6
PIECE_BYTES_MAX = 40
DEEP = 100_000
# What JSON can say in place of a field. They stand as they are written: some are no
# JSON of the standard, some are numbers that no store can hold.
VALUES = (
    *("null", "true", "false", "0", "-0", "1", "-1", "1.5", "-0.0", "1e308", "1e999"),
    *("NaN", "-Infinity", "2147483648", "9007199254740993", "9223372036854775807"),
    *("9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "1" + "0" * 5000),
    *('""', '" "', '"a"', '"\\u0000"', '"\\ud800"', '"\\u202e"', '"\\u001b[2J"', '"é"'),
    *('"NaN"', '"1"', '"' + "x" * 5_000 + '"', '"AAAA"', '"=="', '"__ff_null__"'),
    *("[]", "{}", "[[]]", '{"a":null}', '{"a":1e999}', '["a","a"]', '{"":""}'),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * DEEP),
    *(
        '"00000000-0000-0000-0000-000000000000"',
        '"eyJhIjoxfQ=="',
        '"W10="',
        '"bnVsbA=="',
    ),
    *('{"max_retries":-1}', '{"backoff":{"delay_ms":-1},"max_retries":1}'),
)


@dataclass(frozen=True)
class Loose:
    """An event taken apart: its fields as the text of their JSON."""

    stream: str
    topic: str
    schema_version: str
    fields: dict[str, str]

    @property
    def content(self) -> bytes:
        told = {"schema_version": self.schema_version, **self.fields}
        members = (f"{json.dumps(name)}:{text}" for name, text in told.items())
        return f"{{{','.join(members)}}}".encode(errors="surrogateescape")


def loosened(lines: Sequence[bytes]) -> list[Loose]:
    """Take the events of a bundle apart."""
    found = []
    for line in lines:
        told = json.loads(line)
        state = told["state"]
        fields = {
            name: json.dumps(value)
            for name, value in state.items()
            if name not in {"sha256", "schema_version"}
        }
        version = str(state["schema_version"])
        found.append(Loose(told["stream"], told["topic"], version, fields))
    return found


def edited(events: list[Loose], choices: Choices) -> list[Loose]:
    """Change events: what they say, where they stand, and which there are."""
    events = list(events)
    for _ in range(1 + choices.number(EDITS_MAX - 1)):
        if not events:
            break
        index = choices.number(len(events) - 1)
        chosen = events[index]
        match choices.number(11):
            case 0:
                del events[index]
            case 1:
                events.insert(choices.number(len(events)), chosen)
            case 2:
                events.insert(choices.number(len(events) - 1), events.pop(index))
            case 3:
                other = choices.one_of(events)
                events[index] = replace(chosen, topic=other.topic)
            case 4:
                other = choices.one_of(events)
                events[index] = replace(chosen, stream=other.stream)
            case 5:
                version = choices.one_of(VALUES)
                events[index] = replace(chosen, schema_version=version)
            case _:
                events[index] = replace(
                    chosen, fields=_edited_fields(chosen, events, choices)
                )
    return events


def _edited_fields(
    event: Loose, events: list[Loose], choices: Choices
) -> dict[str, str]:
    fields = dict(event.fields)
    known = sorted({*BY_TOPIC[event.topic].model_fields, *fields, "unknown"})
    name = choices.one_of(known)
    match choices.number(6):
        case 0:
            fields.pop(name, None)
        case 1:
            other = choices.one_of(events)
            fields[name] = other.fields.get(name, "null")
        case 2:
            piece = choices.piece(PIECE_BYTES_MAX).decode(errors="surrogateescape")
            fields[name] = piece
        case 3:
            fields[name] = str(int.from_bytes(choices.piece(9), "big", signed=True))
        case _:
            fields[name] = choices.one_of(VALUES)
    return fields


def bundle_of(header: bytes, events: Sequence[Loose]) -> bytes:
    """Put a bundle together, its versions, hashes and digest made anew."""
    heads: dict[str, tuple[int, str]] = {}
    lines = [header]
    for position, event in enumerate(events, start=1):
        version, head = heads.get(event.stream, (0, codec.FIRST_HASH))
        content = event.content
        sha256 = codec.hash_of(head, event.stream, version + 1, event.topic, content)
        heads[event.stream] = (version + 1, sha256)
        lines.append(
            b'{"position":%d,"state":{"sha256":"%b",%b,"stream":"%b","topic":"%b",'
            b'"version":%d}\n'
            % (
                position,
                sha256.encode(),
                content[1:],
                event.stream.encode(),
                event.topic.encode(),
                version + 1,
            )
        )
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    closing = b'{"events":%d,"sha256":"%b"}\n' % (len(events), digest.encode())
    return b"".join([*lines, closing])
