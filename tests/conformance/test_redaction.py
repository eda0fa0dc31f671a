"""Redacted bundles: the lease story without what is confidential."""

import base64
import hashlib
import io
import json

import pytest
from bundle_lines import exported
from reading_all import tables

import leasehold
from leasehold.domain.redaction import NO_DIGEST

SECRETS = {
    name: f"~~{name}-6e5d7c~~"
    for name in (
        "payload",
        "result",
        "progress",
        "failure",
        "detail",
        "retried",
        "retrydetail",
        "revoked",
        "cancelled",
        "replayed",
        "frame",
        "summary",
        "correlation",
        "frametype",
        "live",
    )
}
KEPT = ("lane~kept", "ann~kept", "key~kept", "tag~kept", "worker~kept", "cap~kept")
PAYLOAD = SECRETS["payload"].encode() * 20


@pytest.fixture
def secretive(ledger, clock):
    """Let every kind of text be given, each with a mark of its own."""
    tell(ledger, clock)
    return ledger


def tell(ledger, clock):
    frames = (
        leasehold.Frame(
            SECRETS["frame"].encode(),
            frame_type=SECRETS["frametype"],
            correlation_id=SECRETS["correlation"],
        ),
        leasehold.Frame(
            json.dumps({SECRETS["summary"]: SECRETS["summary"]}).encode(),
            mode=leasehold.Summary(),
        ),
        leasehold.Frame(SECRETS["live"].encode(), mode=leasehold.BestEffort()),
    )

    def start():
        ledger.create_execution(
            lane_id="lane~kept",
            payload=PAYLOAD,
            actor="ann~kept",
            tags={"tag": "tag~kept"},
            capabilities=["cap~kept"],
            retry_policy=leasehold.RetryPolicy(1, leasehold.Fixed(0)),
        )
        clock.advance(10)
        return ledger.claim(
            "lane~kept",
            worker_id="worker~kept",
            capabilities=["cap~kept"],
            lease_ttl_ms=1_000,
        )

    ledger.create_execution(lane_id="keyed", idempotency_key="key~kept")
    done = start()
    ledger.progress(done, 50, SECRETS["progress"])
    for frame in frames:
        ledger.append_frame(done, frame)
    ledger.renew(done)
    ledger.complete(done, SECRETS["result"].encode())
    ledger.replay_execution(
        done.execution_id, actor="ann~kept", reason=SECRETS["replayed"]
    )
    ledger.cancel_execution(
        done.execution_id, actor="ann~kept", reason=SECRETS["cancelled"]
    )
    failing = start()
    retried = leasehold.FailureReason(SECRETS["retried"], SECRETS["retrydetail"])
    ledger.fail(failing, retried, leasehold.FailureClass.TRANSIENT)
    again = ledger.claim(
        "lane~kept", worker_id="worker~kept", capabilities=["cap~kept"]
    )
    failed = leasehold.FailureReason(SECRETS["failure"], SECRETS["detail"])
    ledger.fail(again, failed, leasehold.FailureClass.PERMANENT)
    revoked = start()
    ledger.revoke_lease(
        revoked.execution_id, actor="ann~kept", reason=SECRETS["revoked"]
    )
    with pytest.raises(leasehold.LeaseRevokedError):
        ledger.progress(revoked, 1, SECRETS["progress"])


def forms(secret):
    """Give the bytes that would tell: plain, in base64 at any place, in hex."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    for shift in range(3):
        yield base64.b64encode(bytes(shift) + raw)[4:-4]
        yield base64.urlsafe_b64encode(bytes(shift) + raw)[4:-4]


def test_a_bundle_without_redaction_has_all_of_it(secretive) -> None:
    """So the marks would be found."""
    bundle = exported(secretive)
    for name, secret in SECRETS.items():
        found = any(form in bundle for form in forms(secret))
        assert found == (name != "live"), name


def test_nothing_confidential_is_in_the_bytes(secretive) -> None:
    bundle = exported(secretive, redact=True)
    for name, secret in SECRETS.items():
        assert not any(form in bundle for form in forms(secret)), name
    for kept in KEPT:
        assert kept.encode() in bundle
    assert b"frame.appended" not in bundle.partition(b"\n")[2]


def test_the_digests_that_would_tell_are_gone(secretive) -> None:
    original = exported(secretive)
    bundle = exported(secretive, redact=True)
    telling = [hashlib.sha256(PAYLOAD).hexdigest()]
    telling.append(hashlib.sha256(SECRETS["result"].encode()).hexdigest())
    for line in original.splitlines()[1:-1]:
        state = json.loads(line)["state"]
        telling += [
            state[name]
            for name in ("result_sha256", "arguments_sha256")
            if name in state
        ]
        if '"payload"' in json.dumps(state):
            telling.append(state["sha256"])
    assert len(telling) > 6
    for digest in telling:
        assert digest.encode() not in bundle
    states = [json.loads(it)["state"] for it in bundle.splitlines()[1:-1]]
    assert {it.get("arguments_sha256", NO_DIGEST) for it in states} == {NO_DIGEST}


def test_the_header_names_the_original(secretive) -> None:
    original = secretive.export(io.BytesIO())
    target = io.BytesIO()
    summary = secretive.export(target, redact=True)
    header = json.loads(target.getvalue().splitlines()[0])
    assert header["redacted"] is True
    assert header["original_sha256"] == original.sha256
    assert summary.header == leasehold.BundleHeader(
        redacted=True, original_sha256=original.sha256
    )
    assert summary.sha256 != original.sha256
    chosen = [secretive.read.executions()[0].execution_id]
    of_one = secretive.export(io.BytesIO(), chosen)
    redacted_one = secretive.export(io.BytesIO(), chosen, redact=True)
    assert redacted_one.header.original_sha256 == of_one.sha256


def test_it_is_the_same_every_time(secretive, clock) -> None:
    once = exported(secretive, redact=True)
    clock.advance(1_000)
    assert exported(secretive, redact=True) == once


def test_it_is_taken_in_verified_and_exported_again(secretive, fresh) -> None:
    bundle = exported(secretive, redact=True)
    store = fresh()
    summary = store.import_bundle(io.BytesIO(bundle))
    report = store.verify()
    assert report.faults == ()
    assert report.redacted_from == (summary.header.original_sha256,)
    assert store.rebuild() == []
    assert exported(store).splitlines()[1:-1] == bundle.splitlines()[1:-1]
    header = store.export(io.BytesIO(), redact=True).header
    # Redacting it again takes nothing more out.
    assert header.redacted
    assert exported(store, redact=True).splitlines()[1:-1] == bundle.splitlines()[1:-1]


def test_each_original_is_named_once(secretive, ledger, fresh) -> None:
    ids = [it.execution_id for it in secretive.read.executions()]
    store = fresh()
    digests = []
    for execution_id in ids:
        bundle = exported(secretive, [execution_id], redact=True)
        taken = store.import_bundle(io.BytesIO(bundle))
        digests.append(taken.header.original_sha256)
    assert store.verify().redacted_from == tuple(digests)
    assert store.verify().ok


def test_a_store_that_took_redacted_ones_in_says_so_in_its_own(
    secretive, fresh
) -> None:
    one, other = [it.execution_id for it in secretive.read.executions()][:2]
    store, originals = fresh(), []
    for execution_id in (one, other):
        bundle = exported(secretive, [execution_id], redact=True)
        taken = store.import_bundle(io.BytesIO(bundle))
        originals.append(taken.header.original_sha256)
        if execution_id == one:
            assert exported(store) == bundle
    header = store.export(io.BytesIO()).header
    both = hashlib.sha256(",".join(originals).encode()).hexdigest()
    assert header == leasehold.BundleHeader(redacted=True, original_sha256=both)
    twin = fresh()
    twin.import_bundle(io.BytesIO(exported(store)))
    assert twin.verify().redacted_from == (both,)


def test_the_lease_story_is_the_same(secretive, fresh) -> None:
    store = fresh()
    store.import_bundle(io.BytesIO(exported(secretive, redact=True)))
    assert tables(store)["lease_event"] == tables(secretive)["lease_event"]
    assert store.read.lease_events() == secretive.read.lease_events()
    assert tables(store)["resume_grant"] == tables(secretive)["resume_grant"]
    for name in ("summary", "stream_frame"):
        assert tables(store)[name] == []
    for mine, theirs in zip(
        store.read.executions(), secretive.read.executions(), strict=True
    ):
        for column in ("lane_id", "public_state", "tags", "priority", "created_at_ms"):
            assert getattr(mine, column) == getattr(theirs, column)
        assert (mine.payload, mine.result) == (b"", None)
        for one, other in zip(
            store.read.attempts(mine.execution_id),
            secretive.read.attempts(mine.execution_id),
            strict=True,
        ):
            assert (one.worker_id, one.outcome) == (other.worker_id, other.outcome)
            assert one.failure_class == other.failure_class
            assert not one.failure_message
            assert one.failure_detail is None


def test_a_redacted_execution_is_not_taken_for_the_original(secretive, fresh) -> None:
    store = fresh()
    store.import_bundle(io.BytesIO(exported(secretive, redact=True)))
    with pytest.raises(leasehold.ConflictError):
        store.create_execution(lane_id="keyed", idempotency_key="key~kept")


def test_a_story_with_every_event_can_be_redacted(told, fresh) -> None:
    store = fresh()
    store.import_bundle(io.BytesIO(exported(told, redact=True)))
    assert store.verify().faults == ()
    assert store.read.lease_events() == told.read.lease_events()
    topics = {it.topic for it in told.read.events()}
    assert {it.topic for it in store.read.events()} == topics - {"frame.appended"}
