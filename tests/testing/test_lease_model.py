"""The model of the fenced lease: what may be answered, and what may not."""

import pytest

from leasehold.adapters.conformance import model
from leasehold.adapters.conformance.histories import (
    Acquired,
    Call,
    Issued,
    Operation,
    Plain,
    Renewed,
)
from leasehold.adapters.conformance.lease_store import Record

TTL_MS = 100
DONE, NOTHING, REFUSED = Plain.DONE, Plain.NOTHING, Plain.REFUSED


def call(operation, answer, at, until=None, **facts):
    """Make a call that had its effect at a time, or between two."""
    return Call(
        actor="a",
        number=0,
        operation=Operation(operation),
        ttl_ms=TTL_MS,
        invoked=0,
        returned=None if answer is None else 1,
        from_ms=at,
        to_ms=at if until is None else until,
        answer=answer,
        **facts,
    )


def claim(answer, at, until=None, **facts):
    return call("claim", answer, at, until, holder="a", **facts)


def fenced(operation, answer, at, until=None, lease="L", **facts):
    return call(operation, answer, at, until, presented=lease, **facts)


def end(answer, at, lease="L", value="v"):
    return fenced("end", answer, at, lease=lease, how="complete", value=value)


def redeem(answer, at, until=None, holder="b", grant="G"):
    return call("redeem", answer, at, until, holder=holder, presented=grant)


def states(*calls):
    """Return all states that calls one after another may lead to."""
    reached = {model.State()}
    for one in calls:
        reached = {after for state in reached for after in model.step(state, one)}
    return reached


def lease(label="L", epoch=1, expires_at_ms=TTL_MS):
    return Acquired(label, epoch, expires_at_ms)


CLAIMED = claim(lease(), 0)
GRANTED = call("grant", Issued("G", 90), 0, holder="b")
RELEASED = fenced("release", DONE, 0)
REVOKED = call("revoke", DONE, 0)
ENDED = end(DONE, 0)
RENEWAL_LOST = fenced("renew", None, 50)
LATER = lease("M", 2, 200)
READ_NOTHING = call("read", Record(), 500)

POSSIBLE = {
    "a claim of what is free": [CLAIMED],
    "a shorter lease than was asked for": [claim(lease(expires_at_ms=1), 0)],
    "no lease while one counts": [CLAIMED, claim(NOTHING, 99)],
    "no lease where calls met": [claim(NOTHING, 0, is_contended=True)],
    "no lease after the end": [CLAIMED, ENDED, claim(NOTHING, 500)],
    "a lease when one has run out": [CLAIMED, claim(LATER, 100)],
    "a lease when one may have run out": [CLAIMED, claim(lease("M", 2, 150), 50, 100)],
    "none when one may still count": [CLAIMED, claim(NOTHING, 99, 150)],
    "a lease after a release": [CLAIMED, RELEASED, claim(lease("M", 2), 0)],
    "a lease after a revocation": [CLAIMED, REVOKED, claim(lease("M", 2), 0)],
    "an epoch that was left out": [CLAIMED, RELEASED, claim(lease("M", 7), 0)],
    "a write in the last moment": [CLAIMED, fenced("write", DONE, 99)],
    "a write that was just in time": [CLAIMED, fenced("write", DONE, 99, 300)],
    "a write that was just too late": [CLAIMED, fenced("write", REFUSED, 0, 100)],
    "a write refused after the expiry": [CLAIMED, fenced("write", REFUSED, 100)],
    "a write of another lease refused": [
        CLAIMED,
        fenced("write", REFUSED, 0, lease="M"),
    ],
    "a renewal": [
        CLAIMED,
        fenced("renew", Renewed(150), 50),
        fenced("write", DONE, 149),
    ],
    "a renewal that moves by 1 ms": [CLAIMED, fenced("renew", Renewed(101), 0)],
    "a renewal whose answer was lost": [
        CLAIMED,
        RENEWAL_LOST,
        fenced("write", DONE, 149),
    ],
    "a renewal that was lost and may not have been": [
        CLAIMED,
        RENEWAL_LOST,
        fenced("write", REFUSED, 100),
    ],
    "a renewal after one that was lost": [
        CLAIMED,
        RENEWAL_LOST,
        fenced("renew", Renewed(121), 120),
    ],
    "a release told twice": [CLAIMED, RELEASED, RELEASED],
    "a release refused when told twice": [
        CLAIMED,
        RELEASED,
        fenced("release", REFUSED, 0),
    ],
    "an end told twice": [CLAIMED, ENDED, end(DONE, 500)],
    "no revocation of what is free": [call("revoke", REFUSED, 0)],
    "a lost claim keeps others out": [claim(None, 0), claim(NOTHING, 99)],
    "a lost claim runs out": [claim(None, 0), claim(lease("M", 1, 200), 100)],
    "a grant redeemed": [CLAIMED, GRANTED, REVOKED, redeem(LATER, 89, 100)],
    "a grant redeemed at the expiry": [
        CLAIMED,
        call("grant", Issued("G", 101), 1, holder="b"),
        redeem(LATER, 100),
    ],
    "a grant that waits": [CLAIMED, GRANTED, redeem(NOTHING, 89)],
    "a grant refused after its time": [CLAIMED, GRANTED, redeem(REFUSED, 90)],
    "a grant refused to another": [CLAIMED, GRANTED, redeem(REFUSED, 0, holder="c")],
    "a grant refused after a release": [CLAIMED, GRANTED, RELEASED, redeem(REFUSED, 0)],
    "a grant refused when it was used": [
        CLAIMED,
        GRANTED,
        REVOKED,
        redeem(lease("M", 2), 0),
        redeem(REFUSED, 0),
    ],
    "no grant for what was never begun": [call("grant", REFUSED, 0)],
    "a read of nothing": [READ_NOTHING],
    "a read of what was written": [
        CLAIMED,
        fenced("write", DONE, 0, how="w", value="1"),
        fenced("write", DONE, 0, how="w", value="2"),
        ENDED,
        call("read", Record({"w": "2"}, "complete", "v"), 0),
    ],
}

IMPOSSIBLE = {
    "a second lease beside the first": [CLAIMED, claim(lease("M", 2, 199), 99)],
    "no lease of what is free": [claim(NOTHING, 0)],
    "no lease of what has run out": [CLAIMED, claim(NOTHING, 100)],
    "no lease of what was released": [CLAIMED, RELEASED, claim(NOTHING, 0)],
    "no lease of what was revoked": [CLAIMED, REVOKED, claim(NOTHING, 0)],
    "a lease after the end": [CLAIMED, ENDED, claim(lease("M", 2, 600), 500)],
    "the same epoch again": [CLAIMED, RELEASED, claim(lease("M", 1), 0)],
    "a lower epoch": [claim(lease(epoch=0), 0)],
    "a longer lease than was asked for": [claim(lease(expires_at_ms=101), 0)],
    "a lease that has run out when it is given": [claim(lease(expires_at_ms=0), 0)],
    "a write after the expiry": [CLAIMED, fenced("write", DONE, 100)],
    "a write refused before the expiry": [CLAIMED, fenced("write", REFUSED, 0, 99)],
    "a write of another lease": [CLAIMED, fenced("write", DONE, 0, lease="M")],
    "a write without a lease": [fenced("write", DONE, 0)],
    "a write after the release": [CLAIMED, RELEASED, fenced("write", DONE, 0)],
    "a write after the revocation": [CLAIMED, REVOKED, fenced("write", DONE, 0)],
    "a write after the end": [CLAIMED, ENDED, fenced("write", DONE, 0)],
    "a renewal after the expiry": [CLAIMED, fenced("renew", Renewed(200), 100)],
    "a renewal that shortens": [CLAIMED, fenced("renew", Renewed(99), 50)],
    "a renewal that moves by 2 ms": [CLAIMED, fenced("renew", Renewed(102), 0)],
    "a renewal that has run out when it is told": [
        CLAIMED,
        RENEWAL_LOST,
        fenced("renew", Renewed(120), 120),
    ],
    "a renewal for longer than was asked": [CLAIMED, fenced("renew", Renewed(151), 50)],
    "a renewal that is forgotten": [
        CLAIMED,
        fenced("renew", Renewed(150), 50),
        claim(LATER, 149),
    ],
    "another end": [CLAIMED, ENDED, end(DONE, 0, value="w")],
    "an end by another lease": [CLAIMED, ENDED, end(DONE, 0, lease="M")],
    "an end refused when told twice": [CLAIMED, ENDED, end(REFUSED, 0)],
    "a revocation of what is free": [call("revoke", DONE, 0)],
    "a revocation after the expiry": [CLAIMED, call("revoke", DONE, 100)],
    "no revocation of what counts": [CLAIMED, call("revoke", REFUSED, 99)],
    "a lost claim that lasts": [claim(None, 0), claim(NOTHING, 100)],
    "a grant beside a lease that counts": [
        CLAIMED,
        GRANTED,
        redeem(lease("M", 2, 189), 89),
    ],
    "a grant after its time": [
        CLAIMED,
        GRANTED,
        REVOKED,
        redeem(lease("M", 2, 190), 90),
    ],
    "another's grant": [
        CLAIMED,
        GRANTED,
        REVOKED,
        redeem(lease("M", 2), 0, holder="c"),
    ],
    "an unknown grant": [CLAIMED, REVOKED, redeem(lease("M", 2), 0)],
    "a grant after a release": [
        CLAIMED,
        GRANTED,
        RELEASED,
        redeem(lease("M", 2), 0),
    ],
    "a grant used twice": [
        CLAIMED,
        GRANTED,
        REVOKED,
        redeem(lease("M", 2), 0),
        fenced("write", DONE, 0, lease="M"),
        REVOKED,
        redeem(lease("N", 3), 0),
    ],
    "a grant after the end": [CLAIMED, GRANTED, ENDED, redeem(lease("M", 2), 0)],
    "a grant that waits for nothing": [CLAIMED, GRANTED, REVOKED, redeem(NOTHING, 0)],
    "a grant that waits for ever": [
        CLAIMED,
        call("grant", Issued("G", 101), 1, holder="b"),
        redeem(NOTHING, 100),
    ],
    "a grant refused in its time": [CLAIMED, GRANTED, REVOKED, redeem(REFUSED, 89)],
    "a grant for longer than was asked": [CLAIMED, call("grant", Issued("G", 101), 0)],
    "a grant that has run out when it is given": [
        CLAIMED,
        call("grant", Issued("G", 0), 0),
    ],
    "a grant for what was never begun": [call("grant", Issued("G", 90), 0)],
    "no grant for what was begun": [CLAIMED, call("grant", REFUSED, 500)],
    "a read of what was not written": [CLAIMED, call("read", Record({"w": "1"}), 0)],
    "a read that has lost the end": [CLAIMED, ENDED, READ_NOTHING],
}


@pytest.mark.parametrize("calls", POSSIBLE.values(), ids=POSSIBLE)
def test_it_explains(calls):
    assert states(*calls)


@pytest.mark.parametrize("calls", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_it_does_not_explain(calls):
    *before, last = calls
    assert states(*before)
    assert not states(*before, last)


def test_every_operation_has_its_rule():
    for operation in Operation:
        assert iter(model.step(model.State(), call(operation, None, 0)))


def test_a_state_is_told_in_words():
    (held,) = states(CLAIMED, GRANTED)
    told = "under lease L, which runs out at 90 ms; highest epoch 1; grants: G for b"
    assert model.told(held, 10) == told
    (lost,) = states(claim(None, 0))
    assert "under lease ?, which runs out at 1 ms to 100 ms" in model.told(lost, 0)
    (ended,) = states(CLAIMED, ENDED)
    assert model.told(ended, 0) == "ended under lease L by complete=v"
    (freed,) = states(CLAIMED, RELEASED)
    assert model.told(freed, 0) == "nobody's; highest epoch 1; grants: none"
