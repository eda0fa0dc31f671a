"""What all groups of commands share: the store, and the draws that decisions need."""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import uuid_utils.compat

from leasehold.adapters.metering import Meter
from leasehold.adapters.recording import Loaded, load
from leasehold.adapters.store import Store, WriteSession
from leasehold.domain import limits
from leasehold.domain.errors import NotFoundError


def _jitter() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - spreads retries, guards nothing


@dataclass(frozen=True, slots=True)
class Draws:
    """Where ids and jitter come from; replays and tests put their own in.

    Attributes:
        execution_id: UUIDv7, so that ids sort by their time.
        lease_id: UUIDv4: nothing can be guessed from the one before.
        grant_id: UUIDv4.
        jitter: Evenly from [−1, 1].
    """

    execution_id: Callable[[], UUID] = uuid_utils.compat.uuid7
    lease_id: Callable[[], UUID] = uuid.uuid4
    grant_id: Callable[[], UUID] = uuid.uuid4
    jitter: Callable[[], float] = field(default=_jitter)


class Commands:
    """A group of the ledger's operations on one store."""

    def __init__(self, store: Store, draws: Draws | None = None) -> None:
        """Work on a store."""
        self._store = store
        self._draws = draws or Draws()
        self._meter = Meter()


def load_existing(session: WriteSession, execution_id: UUID | str) -> Loaded:
    """Lock and load an execution that must be there.

    Raises:
        NotFoundError: The store has no such execution.
    """
    return check_known(load(session, execution_id), execution_id)


def check_known(loaded: Loaded | None, execution_id: UUID | str) -> Loaded:
    """Return what was loaded of an execution that must be there.

    Raises:
        NotFoundError: The store has no such execution.
    """
    if loaded is None:
        message = (
            f"execution {execution_id} is not in this store; "
            "it may have been created in another one"
        )
        raise NotFoundError(message)
    return loaded


def names_of_creation(
    execution_id: UUID | None, namespace: str, idempotency_key: str | None
) -> list[str]:
    """Return under what an execution is created, for `WriteSession.lock_names`."""
    names = [] if execution_id is None else [str(execution_id)]
    if idempotency_key is not None:
        names.append(f"{namespace}\0{idempotency_key}")
    return names


def check_actor(actor: str) -> None:
    """Check who acts: 1 to 256 bytes.

    Raises:
        InvalidInputError: The actor breaks the rule.
    """
    limits.text("actor", actor, bytes_min=1, bytes_max=limits.KEY_BYTES_MAX)


def check_reason(reason: str) -> None:
    """Check why someone acts: at most 4096 bytes.

    Raises:
        InvalidInputError: The reason breaks the rule.
    """
    limits.text("reason", reason, bytes_max=limits.TEXT_BYTES_MAX)
