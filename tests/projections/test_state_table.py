"""What the projections and the folds leave after each event."""

import pytest
from event_samples import EXECUTION, attempt_after, execution_after, make
from plain_tables import PlainTables

from leasehold.domain.attempts import (
    AttemptCancelled,
    AttemptDeadlinePassed,
    AttemptEvent,
    AttemptFailed,
    AttemptInterrupted,
    AttemptLeaseExpired,
    AttemptLeaseReclaimed,
    AttemptLeaseRenewed,
    AttemptLeaseRevoked,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
)
from leasehold.domain.executions import (
    ExecutionBecameEligible,
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionExpired,
    ExecutionFailed,
    ExecutionReplayed,
    ExecutionRetryScheduled,
)
from leasehold.domain.frames import FrameAppended
from leasehold.domain.refusals import RefusalRecorded
from leasehold.domain.states import (
    EligibilityState,
    LifecyclePhase,
    Outcome,
    TerminalCause,
    public_state,
)

COLUMNS = (
    "lifecycle_phase",
    "ownership_state",
    "eligibility_state",
    "public_state",
    "attempt_state",
)
NOW = ("runnable", "unowned", "eligible_now", "pending")
LATER = ("runnable", "unowned", "not_eligible_until_time", "delayed")
ACTIVE = ("not_applicable", "running")
HELD = ("active", "leased", *ACTIVE, "running_attempt")
LOST = ("active", "lease_expired_reclaimable", *ACTIVE, "attempt_interrupted")
TAKEN = ("active", "lease_revoked", *ACTIVE, "attempt_interrupted")
OVER = ("terminal", "unowned", "not_applicable")
CREATED = (make(ExecutionCreated),)
DELAYED = (make(ExecutionCreated, due=False, eligible_at_ms=1_400),)
CLAIMED = (*CREATED, make(ExecutionClaimed), make(AttemptStarted))
EXPIRED = (*CLAIMED, make(AttemptLeaseExpired))
REVOKED = (*CLAIMED, make(AttemptLeaseRevoked))
TAKEN_OVER = (
    *EXPIRED,
    make(AttemptInterrupted),
    make(ExecutionClaimed, attempt_index=1, lease_epoch=2, lease_reclaim_count=1),
    make(AttemptStarted, attempt_index=1, lease_epoch=2, taken_over=True),
)
COMPLETED = (*CLAIMED, make(AttemptSucceeded), make(ExecutionCompleted))
FINAL = {"retry_at_ms": None, "terminal_cause": TerminalCause.NOT_RETRYABLE}
RETRIED = (*CLAIMED, make(AttemptFailed))
STORIES = {
    "created, due": (CREATED, (*NOW, "initial"), ()),
    "created, delayed": (DELAYED, (*LATER, "initial"), ()),
    "became eligible": (
        (*DELAYED, make(ExecutionBecameEligible, eligible_at_ms=1_400)),
        (*NOW, "initial"),
        (),
    ),
    "claimed": (CLAIMED, HELD, (None,)),
    "renewed, reported, framed, refused": (
        (
            *CLAIMED,
            make(AttemptLeaseRenewed),
            make(AttemptProgressed),
            make(FrameAppended),
            make(RefusalRecorded),
        ),
        HELD,
        (None,),
    ),
    "lease expiry recorded": (EXPIRED, LOST, (None,)),
    "lease revoked": (REVOKED, TAKEN, (None,)),
    "resumed after expiry": ((*EXPIRED, make(AttemptLeaseReclaimed)), HELD, (None,)),
    "resumed unrecorded": ((*CLAIMED, make(AttemptLeaseReclaimed)), HELD, (None,)),
    "reclaimed": (TAKEN_OVER, HELD, ("interrupted_reclaimed", None)),
    "reclaimed past the cap": (
        (
            *REVOKED,
            make(AttemptInterrupted),
            make(ExecutionFailed, cause=TerminalCause.RECLAIMS_EXHAUSTED),
        ),
        (*OVER, "failed", "attempt_terminal"),
        ("interrupted_reclaimed",),
    ),
    "retry, due at once": (
        (*RETRIED, make(ExecutionRetryScheduled, due=True)),
        (*NOW, "pending_retry_attempt"),
        ("retry",),
    ),
    "retry, delayed": (
        (*RETRIED, make(ExecutionRetryScheduled)),
        (*LATER, "pending_retry_attempt"),
        ("retry",),
    ),
    "completed": (COMPLETED, (*OVER, "completed", "attempt_terminal"), ("success",)),
    "failed": (
        (*CLAIMED, make(AttemptFailed, **FINAL), make(ExecutionFailed)),
        (*OVER, "failed", "attempt_terminal"),
        ("failed",),
    ),
    "cancelled while it ran": (
        (*CLAIMED, make(AttemptCancelled), make(ExecutionCancelled)),
        (*OVER, "cancelled", "attempt_terminal"),
        ("cancelled",),
    ),
    "cancelled while it waited": (
        (*CREATED, make(ExecutionCancelled)),
        (*OVER, "cancelled", "attempt_terminal"),
        (),
    ),
    "deadline passed while it ran": (
        (*CLAIMED, make(AttemptDeadlinePassed), make(ExecutionExpired)),
        (*OVER, "expired", "attempt_terminal"),
        ("expired",),
    ),
    "deadline passed while it waited": (
        (*DELAYED, make(ExecutionExpired)),
        (*OVER, "expired", "attempt_terminal"),
        (),
    ),
    "replayed": (
        (*COMPLETED, make(ExecutionReplayed)),
        (*NOW, "pending_replay_attempt"),
        ("success",),
    ),
}

each_story = pytest.mark.parametrize("story", STORIES)


@each_story
def test_the_row_is_that_of_the_contract(story) -> None:
    events, row, outcomes = STORIES[story]
    tables = PlainTables()
    tables.tell(*events)
    (state,) = tables.rows("exec_state").values()
    assert tuple(state[column] for column in COLUMNS) == row
    attempts = tables.rows("attempt").items()
    assert tuple(attempt["outcome"] for _, attempt in sorted(attempts)) == outcomes


@each_story
def test_the_public_state_follows_from_the_other_columns_and_the_outcome(story) -> None:
    events, row, _ = STORIES[story]
    execution = folded(events)
    assert row[3] == public_state(
        LifecyclePhase(row[0]), EligibilityState(row[2]), execution.outcome
    )


@each_story
def test_the_fold_leaves_what_the_row_says(story) -> None:
    events, row, outcomes = STORIES[story]
    execution = folded(events)
    assert execution.lifecycle_phase == row[0]
    assert execution.due is (row[2] == "eligible_now")
    assert execution.public_state == row[3]
    assert execution.attempts_started == len(outcomes)
    for index, outcome in enumerate(outcomes):
        attempt = attempt_after(
            *(
                event
                for event in events
                if isinstance(event, AttemptEvent) and event.attempt_index == index
            )
        )
        assert attempt.outcome == outcome


def folded(events):
    return execution_after(
        *(event for event in events if event.TOPIC.startswith("execution."))
    )


def test_a_terminal_outcome_is_none_of_the_passing_ones() -> None:
    ends = {
        folded(events).outcome
        for events, row, _ in STORIES.values()
        if row[0] == "terminal"
    }
    assert ends == set(Outcome) - {Outcome.RETRY, Outcome.INTERRUPTED_RECLAIMED}


def test_history_and_what_was_given_survive_a_replay() -> None:
    tables = PlainTables()
    before = (*CLAIMED, make(AttemptProgressed), *COMPLETED[3:])
    tables.tell(*before)
    tables.tell(make(ExecutionReplayed, occurred_at_ms=5_000))
    key = (str(EXECUTION),)
    row, blob = tables.rows("exec_state")[key], tables.rows("exec_blob")[key]
    assert row["raw_fields"] == '{"progress_message":"halfway","progress_pct":42}'
    assert (row["started_at_ms"], row["eligible_at_ms"]) == (1_000, 5_000)
    assert (row["terminal_at_ms"], row["deadline_at_ms"]) == (None, None)
    assert blob == {"execution_id": key[0], "payload": b"work", "result": None}
    assert len(tables.rows("lease_event")) == 2
