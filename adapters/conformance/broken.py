"""Lease stores that are broken, each in one way, to show that the kit finds it.

Each is the correct store of `reference.py` with one thing done wrong, and names the
checks that fail on it: all of those that find the same each time, and no others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, Final

from leasehold.adapters.conformance.lease_store import Lease, Refused
from leasehold.adapters.conformance.reference import (
    ReferenceSession,
    ReferenceStore,
    Row,
    Token,
)

_HOLDER: Final = "one_holder_at_a_time"
_FENCED: Final = "every_write_is_fenced"
_EPOCHS: Final = "epochs_never_reset"
_RUNS_OUT: Final = "a_lease_runs_out"
_CLOCK: Final = "the_clock_of_the_store_counts"
_RENEWAL: Final = "a_renewal_is_no_acquisition"
_GRANT: Final = "a_grant_serves_once"
_END: Final = "an_end_is_final"
_LOST: Final = "a_lost_answer_is_found_out"
_SLIPS: Final = "no_call_slips_past_the_fence"
_RANDOM: Final = "random_histories_fit_the_model"


class BrokenStore(ReferenceStore):
    """A lease store that is broken in one way.

    Attributes:
        caught_by: The names of the checks that fail on it.
    """

    caught_by: ClassVar[frozenset[str]] = frozenset()


class ExpiryIgnored(BrokenStore):
    """A lease never runs out: who dies with it keeps everybody out for ever."""

    caught_by = frozenset(
        {_FENCED, _EPOCHS, _RUNS_OUT, _CLOCK, _RENEWAL, _GRANT, _SLIPS, _RANDOM}
    )

    class _Session(ReferenceSession):
        def has_run_out(self, row: Row, now_ms: int) -> bool:
            del row, now_ms
            return False

    _session_type = _Session


class ExpiryOffByOne(BrokenStore):
    """A lease still counts in the very moment at which it runs out."""

    caught_by = frozenset(
        {_FENCED, _EPOCHS, _RUNS_OUT, _RENEWAL, _GRANT, _SLIPS, _RANDOM}
    )

    class _Session(ReferenceSession):
        def has_run_out(self, row: Row, now_ms: int) -> bool:
            return now_ms > row.expires_at_ms

    _session_type = _Session


class EpochResetOnRelease(BrokenStore):
    """Giving a lease back forgets its number: old leases pass for new ones."""

    caught_by = frozenset({_HOLDER, _FENCED, _EPOCHS, _LOST, _SLIPS, _RANDOM})

    class _Session(ReferenceSession):
        def release(self, lease: Lease) -> None:
            super().release(lease)
            self.store.rows[lease.token.resource].epoch = 0

    _session_type = _Session


class HeartbeatByName(BrokenStore):
    """A heartbeat is taken from whoever has the holder's name.

    So a worker that was started again is kept alive by the process before it.
    """

    caught_by = frozenset({_RENEWAL, _RANDOM})

    class _Session(ReferenceSession):
        def renew(self, lease: Lease) -> int:
            token: Token = lease.token
            with self.store.transaction(token.resource) as row:
                now_ms = self.now_ms()
                if row.holder != token.holder or self.has_run_out(row, now_ms):
                    raise Refused
                row.expires_at_ms = now_ms + token.ttl_ms
                return row.expires_at_ms

    _session_type = _Session


class LocalClock(BrokenStore):
    """Each client counts by the clock of its own host."""

    caught_by = frozenset({_CLOCK})

    class _Session(ReferenceSession):
        def now_ms(self) -> int:
            return self.host_clock()

    _session_type = _Session


class FenceBeforeTransaction(BrokenStore):
    """The fence is checked, and then the transaction begins that writes."""

    caught_by = frozenset({_SLIPS})

    class _Session(ReferenceSession):
        @contextmanager
        def fenced(self, token: Token) -> Iterator[tuple[Row, int]]:
            seen = replace(self.store.rows[token.resource])
            now_ms = self.now_ms()
            self.check_fence(seen, token, now_ms)
            with self.store.transaction(token.resource) as row:
                yield row, now_ms

    _session_type = _Session


class ClaimBeforeTransaction(BrokenStore):
    """A claim looks whether the lease is free, and then begins to take it."""

    caught_by = frozenset({_SLIPS})

    class _Session(ReferenceSession):
        def claim(self, resource: str, holder: str, ttl_ms: int) -> Lease | None:
            seen = replace(self.store.rows[resource])
            now_ms = self.now_ms()
            if seen.end is not None or not self.is_free(seen, holder, now_ms):
                return None
            with self.store.transaction(resource) as row:
                return self.acquire(resource, row, holder, now_ms, ttl_ms)

    _session_type = _Session


class EndNotGuarded(BrokenStore):
    """The last lease passes the fence after the end too, and ends it otherwise."""

    caught_by = frozenset({_FENCED, _GRANT, _END, _LOST, _RANDOM})

    class _Session(ReferenceSession):
        def end(self, lease: Lease, how: str, value: str) -> None:
            with self.fenced(lease.token) as (row, _):
                row.end = how, value, lease.epoch

    _session_type = _Session


class EndedIsClaimed(BrokenStore):
    """A claim looks whether somebody has the lease, and not whether all is over."""

    caught_by = frozenset({_HOLDER, _END, _SLIPS, _RANDOM})

    class _Session(ReferenceSession):
        def claim(self, resource: str, holder: str, ttl_ms: int) -> Lease | None:
            with self.store.transaction(resource) as row:
                now_ms = self.now_ms()
                if not self.is_free(row, holder, now_ms):
                    return None
                return self.acquire(resource, row, holder, now_ms, ttl_ms)

    _session_type = _Session


class GrantReusable(BrokenStore):
    """A grant serves again and again."""

    caught_by = frozenset({_GRANT, _LOST, _SLIPS, _RANDOM})

    class _Session(ReferenceSession):
        def use_up(self, row: Row, number: int) -> None:
            del row, number

    _session_type = _Session


class GrantForAnybody(BrokenStore):
    """A grant serves whoever presents it."""

    caught_by = frozenset({_GRANT, _RANDOM})

    class _Session(ReferenceSession):
        def check_grant(self, row: Row, number: int, holder: str, now_ms: int) -> None:
            holder, _ = row.grants.get(number, (holder, 0))
            super().check_grant(row, number, holder, now_ms)

    _session_type = _Session


class OneWriteUnfenced(BrokenStore):
    """One of the ways to write was forgotten when the others were fenced."""

    caught_by = frozenset({_FENCED, _RUNS_OUT, _END, _RANDOM})

    class _Session(ReferenceSession):
        def write(self, lease: Lease, how: str, value: str) -> None:
            if how == "append":
                with self.store.transaction(lease.token.resource) as row:
                    row.values[how] = value
            else:
                super().write(lease, how, value)

    _session_type = _Session


class RefusedIsWritten(BrokenStore):
    """What was refused stays written: it was not undone."""

    caught_by = frozenset({_FENCED, _RUNS_OUT, _END, _SLIPS, _RANDOM})

    class _Session(ReferenceSession):
        def write(self, lease: Lease, how: str, value: str) -> None:
            with self.store.transaction(lease.token.resource) as row:
                row.values[how] = value
                self.check_fence(row, lease.token, self.now_ms())

    _session_type = _Session


class RevocationForgotten(BrokenStore):
    """A revocation is accepted, and the holder goes on all the same."""

    caught_by = frozenset({_FENCED, _EPOCHS, _RANDOM})

    class _Session(ReferenceSession):
        def revoke(self, resource: str) -> None:
            with self.store.transaction(resource) as row:
                if row.holder is None or self.has_run_out(row, self.now_ms()):
                    raise Refused

    _session_type = _Session


class RenewalRevives(BrokenStore):
    """A renewal brings a lease back that has run out, if nobody else was faster."""

    caught_by = frozenset({_RUNS_OUT, _RENEWAL, _RANDOM})

    class _Session(ReferenceSession):
        def renew(self, lease: Lease) -> int:
            token: Token = lease.token
            with self.store.transaction(token.resource) as row:
                if row.holder is None or row.epoch != token.epoch:
                    raise Refused
                row.expires_at_ms = self.now_ms() + token.ttl_ms
                return row.expires_at_ms

    _session_type = _Session


class RenewalForgotten(BrokenStore):
    """A renewal is accepted, and the lease runs out all the same."""

    caught_by = frozenset({_HOLDER, _RENEWAL})

    class _Session(ReferenceSession):
        def renew(self, lease: Lease) -> int:
            token: Token = lease.token
            with self.fenced(token) as (_, now_ms):
                return now_ms + token.ttl_ms

    _session_type = _Session


class HolderLetInAgain(BrokenStore):
    """A claim in the name of the holder is given a second lease beside the first."""

    caught_by = frozenset({_HOLDER, _SLIPS, _RANDOM})

    class _Session(ReferenceSession):
        def is_free(self, row: Row, holder: str, now_ms: int) -> bool:
            return row.holder == holder or super().is_free(row, holder, now_ms)

    _session_type = _Session


class RepeatRefused(BrokenStore):
    """Who asks again is refused as if its first call had not counted."""

    caught_by = frozenset({_LOST, _RANDOM})

    class _Session(ReferenceSession):
        def is_repeated(self, row: Row, token: Token, how: str, value: str) -> bool:
            del row, token, how, value
            return False

    _session_type = _Session


class AnyEndWillDo(BrokenStore):
    """Who asks again is told that all is well because somebody has ended it."""

    caught_by = frozenset({_FENCED, _END, _LOST, _RANDOM})

    class _Session(ReferenceSession):
        def is_repeated(self, row: Row, token: Token, how: str, value: str) -> bool:
            del token, how, value
            return row.end is not None

    _session_type = _Session


STORES: Final[tuple[type[BrokenStore], ...]] = (
    ExpiryIgnored,
    ExpiryOffByOne,
    EpochResetOnRelease,
    HeartbeatByName,
    LocalClock,
    FenceBeforeTransaction,
    ClaimBeforeTransaction,
    EndNotGuarded,
    EndedIsClaimed,
    GrantReusable,
    GrantForAnybody,
    OneWriteUnfenced,
    RefusedIsWritten,
    RevocationForgotten,
    RenewalRevives,
    RenewalForgotten,
    HolderLetInAgain,
    RepeatRefused,
    AnyEndWillDo,
)
"""All of them."""
