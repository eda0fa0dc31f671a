"""Bundles as lines, to be cut and put together again."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import leasehold

OPENING = b'{"position":'


def exported(ledger: leasehold.Ledger, *chosen: Any, **options: Any) -> bytes:
    """Return the bytes of a bundle."""
    target = io.BytesIO()
    ledger.export(target, *chosen, **options)
    return target.getvalue()


def closed(lines: Iterable[bytes]) -> bytes:
    """Return a header and events, each with its line's end, and what closes them."""
    whole = b"".join(lines)
    events = whole.count(b"\n" + OPENING)
    told = {"events": events, "sha256": hashlib.sha256(whole).hexdigest()}
    return whole + json.dumps(told, separators=(",", ":")).encode() + b"\n"


def position_of(line: bytes) -> int:
    """Return the position that the line of an event tells."""
    return int(line.removeprefix(OPENING).partition(b",")[0])


def until(bundle: bytes, position: int) -> bytes:
    """Return a bundle of those events alone that stand up to a position."""
    header, *events, _ = bundle.splitlines(keepends=True)
    return closed([header, *(it for it in events if position_of(it) <= position)])
