"""What decisions load is what the events fold to, whatever happened."""

from contextlib import closing, suppress
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import leasehold
from leasehold.adapters import codec
from leasehold.adapters.recording import load, record
from leasehold.domain import attempts, executions
from leasehold.domain.attempts import AttemptEvent
from leasehold.domain.executions import ExecutionReprioritised
from leasehold.domain.frames import FrameAppended
from leasehold.domain.refusals import RefusalRecorded

START_MS = 1_700_000_000_000
BY = {"actor": "ann", "reason": "because"}
POLICIES = [
    leasehold.RetryPolicy(),
    leasehold.RetryPolicy(1, leasehold.Fixed(0)),
    leasehold.RetryPolicy(2, leasehold.Exponential(100, 3.0, 1_000, 0.5)),
]


@pytest.fixture
def store_url(sqlite_url):
    """Name the SQLite stores: loading takes no lock there, so that a reader may."""
    return sqlite_url


class Session:
    """A ledger in memory, and the things that a history may do to it."""

    def __init__(self) -> None:
        """Begin with an empty store."""
        self.now_ms = START_MS
        self.ledger = leasehold.open("sqlite://", clock=lambda: self.now_ms)
        self.ids = []
        self.handles = []
        self.grants = []

    def act(self, action, number) -> None:
        """Do one thing; what is refused has no effect but its record."""
        with suppress(leasehold.LeaseholdError, LookupError):
            getattr(self, action)(number)

    def pick(self, things, number):
        """Pick one of the last few, or raise LookupError."""
        return things[-1 - number % min(len(things), 3)] if things else things[0]

    def create(self, number) -> None:
        """Submit work: plain, delayed, or with a deadline."""
        more = [
            {},
            {"delay_until_ms": self.now_ms + 40},
            {"deadline_at_ms": self.now_ms + 200, "payload": b"x"},
            {"max_reclaim_count": 1, "tags": {"a": "b"}},
        ][number % 4]
        policy = POLICIES[number % 3]
        self.ids.append(self.ledger.create_execution(retry_policy=policy, **more))

    def claim(self, number) -> None:
        """Claim what there is."""
        handle = self.ledger.claim(
            worker_id=f"worker-{number % 3}", lease_ttl_ms=50 + number
        )
        if handle is not None:
            self.handles.append(handle)

    def wait(self, number) -> None:
        """Let time pass, or step back."""
        self.now_ms += (number - 10) * 8

    def renew(self, number) -> None:
        """Renew a lease, perhaps an old one."""
        self.ledger.renew(self.pick(self.handles, number))

    def progress(self, number) -> None:
        """Report."""
        self.ledger.progress(self.pick(self.handles, number), number % 100, "on it")

    def frame(self, number) -> None:
        """Append a durable, a summary or a best-effort frame."""
        modes = [leasehold.Durable(), leasehold.Summary(), leasehold.BestEffort()]
        frame = leasehold.Frame(b'{"n":1}', mode=modes[number % 3])
        self.ledger.append_frame(self.pick(self.handles, number), frame)

    def complete(self, number) -> None:
        """Finish."""
        self.ledger.complete(self.pick(self.handles, number), b"done")

    def fail(self, number) -> None:
        """Fail in one way or another."""
        failure_class = list(leasehold.FailureClass)[number % 5]
        self.ledger.fail(self.pick(self.handles, number), "broke", failure_class)

    def grant(self, number) -> None:
        """Grant a resumption."""
        execution_id = self.pick(self.ids, number)
        self.grants.append(
            self.ledger.issue_resume_grant(execution_id, worker_id="worker-1")
        )

    def resume(self, number) -> None:
        """Use a grant."""
        handle = self.ledger.claim_from_resume_grant(
            self.pick(self.grants, number), worker_id="worker-1", lease_ttl_ms=30
        )
        if handle is not None:
            self.handles.append(handle)

    def revoke(self, number) -> None:
        """Take a lease away."""
        self.ledger.revoke_lease(self.pick(self.ids, number), **BY)

    def cancel(self, number) -> None:
        """End by an operator's word."""
        self.ledger.cancel_execution(self.pick(self.ids, number), **BY)

    def reprioritise(self, number) -> None:
        """Change a priority."""
        self.ledger.change_priority(self.pick(self.ids, number), number, actor="ann")

    def replay(self, number) -> None:
        """Reopen."""
        self.ledger.replay_execution(self.pick(self.ids, number), **BY)

    def sweep(self, number) -> None:
        """Record what has come due."""
        self.ledger.sweep()


ACTIONS = (
    *("create", "claim", "claim", "claim", "wait", "wait", "renew", "progress"),
    *("frame", "complete", "fail", "fail", "grant", "grant", "resume", "resume"),
    *("revoke", "cancel", "create"),
    *("reprioritise", "replay", "replay", "sweep"),
)
histories = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 60)), min_size=15, max_size=50
).map(lambda history: [("create", 0), ("claim", 0), *history])


def folds_of(recorded):
    """Fold an execution's events: its state, and its last attempt's."""
    execution, by_index = None, {}
    for event in (each.event for each in recorded):
        if isinstance(event, AttemptEvent):
            before = by_index.get(event.attempt_index)
            by_index[event.attempt_index] = attempts.evolve(before, event)
        elif event.TOPIC.startswith("execution."):
            execution = executions.evolve(execution, event)
    return execution, by_index[max(by_index)] if by_index else None


def check_loaded(ledger, execution_id) -> None:
    """Hold what is loaded of an execution against its events."""
    recorded = ledger.read.history(execution_id)
    with ledger._store.read() as session:
        loaded = load(session, execution_id)
    execution, attempt = folds_of(recorded)
    assert loaded.execution == execution
    assert loaded.attempt == attempt
    if execution.lifecycle_phase == "terminal" and attempt is not None:
        assert attempt.lease_state == "ended"
    frames = [
        each
        for each in recorded
        if isinstance(each.event, FrameAppended)
        and attempt is not None
        and each.event.attempt_index == attempt.attempt_index
    ]
    assert loaded.frame_count == len(frames)
    assert loaded.last_event_at_ms == max(each.recorded_at_ms for each in recorded)
    heads = {each.stream_id: each for each in recorded}
    for last in heads.values():
        index = getattr(last.event, "attempt_index", None)
        is_of_last = attempt is not None and index == attempt.attempt_index
        if is_of_last or not isinstance(last.event, AttemptEvent | FrameAppended):
            assert loaded.head(last.event) == (last.version, last.sha256)


@settings(max_examples=100, deadline=None)
@given(histories)
def test_what_is_loaded_from_rows_is_the_fold_of_the_events(history) -> None:
    session = Session()
    with closing(session.ledger) as ledger:
        for action, number in history:
            session.act(action, number)
            changed = session.ids[-1]
            check_loaded(ledger, changed)
        for execution_id in session.ids:
            check_loaded(ledger, execution_id)


@settings(max_examples=30, deadline=None)
@given(histories)
def test_time_never_steps_back_and_a_clamped_time_keeps_the_reading(history) -> None:
    session = Session()
    with closing(session.ledger) as ledger:
        for action, number in history:
            session.act(action, number)
        for execution_id in session.ids:
            last_ms = 0
            for each in ledger.read.history(execution_id):
                event = each.event
                assert event.occurred_at_ms >= last_ms
                last_ms = event.occurred_at_ms
                if event.clock_at_ms is not None:
                    assert event.clock_at_ms < event.occurred_at_ms


@pytest.fixture
def created(ledger):
    """Give an execution that waits."""
    return ledger.create_execution()


def reprioritised(execution_id, priority, at_ms):
    return ExecutionReprioritised(
        execution_id=execution_id, occurred_at_ms=at_ms, priority=priority, actor="ann"
    )


def test_events_recorded_together_are_chained_in_their_order(ledger, created) -> None:
    decided = [reprioritised(created, n, START_MS) for n in (1, 2, 3)]
    with ledger._store.write() as session:
        record(session, load(session, created), decided, clock_at_ms=START_MS)
    history = ledger.read.history(created)
    assert [each.version for each in history] == [1, 2, 3, 4]
    assert [each.event for each in history[1:]] == decided
    previous = history[0].sha256
    for each in history[1:]:
        encoded = codec.encode(each.event, each.stream_id, each.version, previous)
        assert encoded[1] == each.sha256
        previous = each.sha256
    with ledger._store.read() as session:
        assert load(session, created).head(decided[0]) == (4, previous)


def test_nothing_decided_is_nothing_recorded(ledger, created) -> None:
    with ledger._store.write() as session:
        record(session, load(session, created), (), clock_at_ms=START_MS)
    assert len(ledger.read.history(created)) == 1


def test_an_event_keeps_the_reading_only_where_it_was_clamped(ledger, created) -> None:
    for at_ms, reading_ms in ((START_MS + 1, START_MS + 1), (START_MS + 1, START_MS)):
        with ledger._store.write() as session:
            record(
                session,
                load(session, created),
                [reprioritised(created, 1, at_ms)],
                clock_at_ms=reading_ms,
            )
    readings = [each.event.clock_at_ms for each in ledger.read.history(created)]
    assert readings == [None, None, START_MS]


def test_now_is_the_reading_but_never_before_what_is_recorded(ledger, created) -> None:
    with ledger._store.read() as session:
        loaded = load(session, created)
    assert loaded.now_ms(START_MS - 5) == START_MS
    assert loaded.now_ms(START_MS + 5) == START_MS + 5


def test_what_is_not_there_is_not_loaded(ledger, created) -> None:
    with ledger._store.read() as session:
        assert load(session, UUID(int=0)) is None
        assert load(session, str(created)).execution.execution_id == created


def test_before_the_first_attempt_no_stream_but_one_has_a_head(ledger, created) -> None:
    with ledger._store.read() as session:
        loaded = load(session, created)
    facts = {
        "execution_id": created,
        "occurred_at_ms": 1,
        "attempt_index": 0,
        "lease_id": created,
        "lease_epoch": 1,
    }
    refusal = RefusalRecorded(
        **facts, cause="lease_conflict", operation="renew", refused_count=1
    )
    interrupted = attempts.AttemptInterrupted(**facts, worker_id="w")
    assert loaded.attempt is None
    assert loaded.head(refusal) == (0, "0" * 64)
    assert loaded.head(interrupted) == (0, "0" * 64)
    assert loaded.head(reprioritised(created, 1, 1))[0] == 1
