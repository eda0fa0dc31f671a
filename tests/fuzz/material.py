"""What the fuzzers begin with: texts and files that a ledger really wrote."""

from __future__ import annotations

import io
import sqlite3
import sys
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import leasehold

GOLDEN = Path(__file__).parents[1] / "golden"
if str(GOLDEN) not in sys.path:
    sys.path.insert(0, str(GOLDEN))

if TYPE_CHECKING:
    from collections.abc import Sequence

    from golden_story import StoryClock

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def pem_of(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> list[bytes]:
    """Return a key as people keep it: bare, encrypted, and its public half."""
    encryptions = NoEncryption(), BestAvailableEncryption(b"secret")
    form = PrivateFormat.PKCS8
    return [
        *(key.private_bytes(Encoding.PEM, form, it) for it in encryptions),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ]


@cache
def keys() -> list[bytes]:
    """Return keys, also of a kind that does not serve."""
    return [*pem_of(KEY), *pem_of(ec.derive_private_key(7, ec.SECP256R1()))]


def told(url: str) -> tuple[leasehold.Ledger, StoryClock]:
    """Open a ledger with the story in which every event happens."""
    from golden_story import StoryClock, story_draws, tell_story

    clock = StoryClock()
    ledger = leasehold.open(url, clock=clock, durability="normal")
    ledger._draws = story_draws()
    tell_story(ledger, clock)
    return ledger, clock


@cache
def bundle() -> bytes:
    """Return the bundle of the story."""
    ledger, _ = told("sqlite://")
    with ledger:
        target = io.BytesIO()
        ledger.export(target)
        return target.getvalue()


@cache
def bundles_of_executions() -> Sequence[bytes]:
    """Return a bundle for each execution of the story."""
    ledger, _ = told("sqlite://")
    with ledger:
        found = []
        for row in ledger.read.executions():
            target = io.BytesIO()
            ledger.export(target, [row.execution_id])
            found.append(target.getvalue())
        return found


@cache
def checkpoints() -> list[bytes]:
    """Return checkpoints: bare, signed, and as a file of several lines."""
    ledger, _ = told("sqlite://")
    with ledger:
        bare = ledger.checkpoint()
        signed = ledger.checkpoint(signing_key=keys()[0])
        return [it.encode() for it in (bare, signed, f"{bare}\n{signed}\n")]


@cache
def tokens() -> list[str]:
    """Return handles and a grant in text."""
    with leasehold.open("sqlite://") as ledger:
        execution_id = ledger.create_execution()
        handle = ledger.claim(worker_id="worker-1")
        assert handle is not None
        grant = ledger.issue_resume_grant(execution_id, worker_id="worker-1")
        others = [
            handle.replace(backend=leasehold.BackendTag.POSTGRES),
            handle.replace(kind=leasehold.HandleKind.RESUMED, lease_epoch=2**62),
        ]
        return [str(it) for it in (handle, *others, grant)]


@cache
def stored_file() -> bytes:
    """Return the file of a ledger with the story, without its guards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger, _ = told(f"sqlite:///{path}")
        ledger.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                " AND tbl_name = 'stored_events'"
            ).fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()
