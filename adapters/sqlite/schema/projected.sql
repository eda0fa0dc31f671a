-- The projections: they can be dropped and rebuilt from the events to the same rows.

-- The columns of exec_core that change often; see the view below.
CREATE TABLE exec_state (
    execution_id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    lane_id TEXT NOT NULL,
    attempt_index INTEGER NOT NULL CHECK (attempt_index >= 0),
    lifecycle_phase TEXT NOT NULL CHECK (
        lifecycle_phase IN ('runnable', 'active', 'terminal')
    ),
    ownership_state TEXT NOT NULL CHECK (
        ownership_state IN (
            'unowned', 'leased', 'lease_expired_reclaimable', 'lease_revoked'
        )
    ),
    eligibility_state TEXT NOT NULL CHECK (
        eligibility_state IN (
            'eligible_now', 'not_eligible_until_time', 'not_applicable'
        )
    ),
    public_state TEXT NOT NULL CHECK (
        public_state IN (
            'pending', 'delayed', 'running',
            'completed', 'failed', 'cancelled', 'expired'
        )
    ),
    attempt_state TEXT NOT NULL CHECK (
        attempt_state IN (
            'initial', 'running_attempt', 'attempt_interrupted',
            'pending_retry_attempt', 'pending_replay_attempt', 'attempt_terminal'
        )
    ),
    priority INTEGER NOT NULL CHECK (priority BETWEEN -9000 AND 9000),
    created_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    eligible_at_ms INTEGER NOT NULL,
    deadline_at_ms INTEGER,
    terminal_at_ms INTEGER,
    lease_reclaim_count INTEGER NOT NULL CHECK (lease_reclaim_count >= 0),
    tags TEXT NOT NULL,
    raw_fields TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    idempotency_key TEXT,
    arguments_sha256 TEXT NOT NULL,
    retry_policy TEXT NOT NULL,
    retry_count INTEGER NOT NULL,
    max_reclaim_count INTEGER NOT NULL,
    attempts_started INTEGER NOT NULL,
    lease_epoch INTEGER NOT NULL,
    terminal_cause TEXT CHECK (
        terminal_cause IN ('retries_exhausted', 'not_retryable', 'reclaims_exhausted')
    ),
    is_claimable INTEGER NOT NULL CHECK (is_claimable IN (0, 1)),
    stream_version INTEGER NOT NULL,
    stream_sha256 TEXT NOT NULL,
    refusals_version INTEGER NOT NULL,
    refusals_sha256 TEXT,
    last_event_at_ms INTEGER NOT NULL
);

-- The claim: one run of this index for each capability set that waits in the lane.
CREATE INDEX exec_state_claimable ON exec_state (
    lane_id, capabilities, priority DESC, created_at_ms, execution_id, deadline_at_ms
) WHERE is_claimable = 1;

CREATE INDEX exec_state_delayed ON exec_state (lane_id, eligible_at_ms)
WHERE eligibility_state = 'not_eligible_until_time';

CREATE INDEX exec_state_deadline ON exec_state (lane_id, deadline_at_ms)
WHERE deadline_at_ms IS NOT NULL AND lifecycle_phase <> 'terminal';

CREATE INDEX exec_state_expired ON exec_state (execution_id)
WHERE ownership_state = 'lease_expired_reclaimable';

CREATE UNIQUE INDEX exec_state_idempotency ON exec_state (namespace, idempotency_key)
WHERE idempotency_key IS NOT NULL;

CREATE INDEX exec_state_listed ON exec_state (lane_id, public_state, execution_id);

-- The bytes of an execution, kept apart so that a claim does not rewrite them.
CREATE TABLE exec_blob (
    execution_id TEXT PRIMARY KEY,
    payload BLOB NOT NULL DEFAULT x'',
    result BLOB
);

CREATE VIEW exec_core AS
SELECT
    s.execution_id,
    s.namespace,
    s.lane_id,
    s.attempt_index,
    s.lifecycle_phase,
    s.ownership_state,
    s.eligibility_state,
    s.public_state,
    s.attempt_state,
    s.priority,
    s.created_at_ms,
    s.started_at_ms,
    s.eligible_at_ms,
    s.deadline_at_ms,
    s.terminal_at_ms,
    s.lease_reclaim_count,
    coalesce(b.payload, x'') AS payload,
    b.result,
    s.tags,
    s.raw_fields,
    s.capabilities,
    s.idempotency_key,
    s.arguments_sha256,
    s.retry_policy,
    s.retry_count,
    s.max_reclaim_count,
    s.attempts_started,
    s.lease_epoch,
    s.terminal_cause,
    s.is_claimable,
    s.stream_version,
    s.stream_sha256,
    s.refusals_version,
    s.refusals_sha256,
    s.last_event_at_ms
FROM exec_state AS s
LEFT JOIN exec_blob AS b ON b.execution_id = s.execution_id;

-- The view takes writes like a table, so that a repair by hand is plain SQL too.
CREATE TRIGGER exec_core_insert INSTEAD OF INSERT ON exec_core
BEGIN
    INSERT INTO exec_state VALUES (
        NEW.execution_id, NEW.namespace, NEW.lane_id, NEW.attempt_index,
        NEW.lifecycle_phase, NEW.ownership_state, NEW.eligibility_state,
        NEW.public_state, NEW.attempt_state, NEW.priority, NEW.created_at_ms,
        NEW.started_at_ms, NEW.eligible_at_ms, NEW.deadline_at_ms,
        NEW.terminal_at_ms, NEW.lease_reclaim_count, NEW.tags, NEW.raw_fields,
        NEW.capabilities, NEW.idempotency_key, NEW.arguments_sha256,
        NEW.retry_policy, NEW.retry_count, NEW.max_reclaim_count,
        NEW.attempts_started, NEW.lease_epoch, NEW.terminal_cause,
        NEW.is_claimable, NEW.stream_version, NEW.stream_sha256,
        NEW.refusals_version, NEW.refusals_sha256, NEW.last_event_at_ms
    );
    INSERT INTO exec_blob VALUES (
        NEW.execution_id, coalesce(NEW.payload, x''), NEW.result
    );
END;

CREATE TRIGGER exec_core_update INSTEAD OF UPDATE ON exec_core
BEGIN
    UPDATE exec_state SET
        execution_id = NEW.execution_id,
        namespace = NEW.namespace,
        lane_id = NEW.lane_id,
        attempt_index = NEW.attempt_index,
        lifecycle_phase = NEW.lifecycle_phase,
        ownership_state = NEW.ownership_state,
        eligibility_state = NEW.eligibility_state,
        public_state = NEW.public_state,
        attempt_state = NEW.attempt_state,
        priority = NEW.priority,
        created_at_ms = NEW.created_at_ms,
        started_at_ms = NEW.started_at_ms,
        eligible_at_ms = NEW.eligible_at_ms,
        deadline_at_ms = NEW.deadline_at_ms,
        terminal_at_ms = NEW.terminal_at_ms,
        lease_reclaim_count = NEW.lease_reclaim_count,
        tags = NEW.tags,
        raw_fields = NEW.raw_fields,
        capabilities = NEW.capabilities,
        idempotency_key = NEW.idempotency_key,
        arguments_sha256 = NEW.arguments_sha256,
        retry_policy = NEW.retry_policy,
        retry_count = NEW.retry_count,
        max_reclaim_count = NEW.max_reclaim_count,
        attempts_started = NEW.attempts_started,
        lease_epoch = NEW.lease_epoch,
        terminal_cause = NEW.terminal_cause,
        is_claimable = NEW.is_claimable,
        stream_version = NEW.stream_version,
        stream_sha256 = NEW.stream_sha256,
        refusals_version = NEW.refusals_version,
        refusals_sha256 = NEW.refusals_sha256,
        last_event_at_ms = NEW.last_event_at_ms
    WHERE execution_id = OLD.execution_id;
    UPDATE exec_blob SET
        execution_id = NEW.execution_id, payload = NEW.payload, result = NEW.result
    WHERE execution_id = OLD.execution_id;
    INSERT INTO exec_blob (execution_id, payload, result)
    SELECT NEW.execution_id, NEW.payload, NEW.result
    WHERE (NEW.payload <> x'' OR NEW.result IS NOT NULL)
        AND NOT EXISTS (
            SELECT 1 FROM exec_blob WHERE execution_id = NEW.execution_id
        );
END;

CREATE TRIGGER exec_core_delete INSTEAD OF DELETE ON exec_core
BEGIN
    DELETE FROM exec_state WHERE execution_id = OLD.execution_id;
    DELETE FROM exec_blob WHERE execution_id = OLD.execution_id;
END;

CREATE TABLE attempt (
    execution_id TEXT NOT NULL,
    attempt_index INTEGER NOT NULL CHECK (attempt_index >= 0),
    worker_id TEXT NOT NULL,
    worker_instance_id TEXT,
    lease_id TEXT NOT NULL,
    lease_epoch INTEGER NOT NULL CHECK (lease_epoch >= 1),
    lease_expires_at_ms INTEGER,
    started_at_ms INTEGER NOT NULL,
    terminal_at_ms INTEGER,
    outcome TEXT CHECK (
        outcome IN (
            'success', 'failed', 'retry', 'cancelled', 'expired',
            'interrupted_reclaimed'
        )
    ),
    failure_class TEXT CHECK (
        failure_class IN (
            'transient', 'infra_crash', 'permanent', 'timeout', 'cancelled'
        )
    ),
    failure_message TEXT,
    failure_detail TEXT,
    lane_id TEXT NOT NULL,
    lease_ttl_ms INTEGER NOT NULL,
    lease_state TEXT NOT NULL CHECK (
        lease_state IN ('held', 'expired', 'revoked', 'ended')
    ),
    lease_ended_at_ms INTEGER,
    stream_version INTEGER NOT NULL,
    stream_sha256 TEXT NOT NULL,
    frames_version INTEGER NOT NULL,
    frames_sha256 TEXT,
    last_event_at_ms INTEGER NOT NULL,
    PRIMARY KEY (execution_id, attempt_index)
);

CREATE INDEX attempt_lease_due ON attempt (lane_id, lease_expires_at_ms)
WHERE lease_expires_at_ms IS NOT NULL;

CREATE TABLE summary (
    execution_id TEXT NOT NULL,
    attempt_index INTEGER NOT NULL,
    document_json TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    patch_kind TEXT NOT NULL CHECK (patch_kind = 'json-merge-patch'),
    first_applied_ms INTEGER NOT NULL,
    last_updated_ms INTEGER NOT NULL,
    PRIMARY KEY (execution_id, attempt_index)
);

CREATE TABLE lease_event (
    event_id INTEGER PRIMARY KEY,
    execution_id TEXT NOT NULL,
    attempt_index INTEGER NOT NULL,
    lease_id TEXT NOT NULL,
    lease_epoch INTEGER NOT NULL,
    event_type TEXT NOT NULL CHECK (
        event_type IN (
            'acquired', 'renewed', 'expired', 'reclaimed', 'revoked', 'refused'
        )
    ),
    cause TEXT NOT NULL CHECK (
        cause IN (
            'claim', 'renew', 'sweep', 'resume_grant', 'completed',
            'retry_scheduled', 'failed', 'cancelled', 'deadline', 'operator',
            'lease_conflict', 'lease_expired', 'lease_revoked',
            'execution_not_active'
        )
    ),
    worker_id TEXT,
    worker_instance_id TEXT,
    actor TEXT,
    expires_at_ms INTEGER,
    occurred_at_ms INTEGER NOT NULL,
    operation TEXT,
    late_ms INTEGER,
    refused_count INTEGER
);

CREATE INDEX lease_event_of_execution ON lease_event (execution_id, event_id);

CREATE INDEX lease_event_of_worker ON lease_event (worker_id, event_id);

CREATE TABLE stream_frame (
    execution_id TEXT NOT NULL,
    attempt_index INTEGER NOT NULL,
    ts_ms INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    frame_type TEXT NOT NULL,
    payload BLOB NOT NULL,
    correlation_id TEXT,
    mode TEXT NOT NULL CHECK (mode IN ('durable', 'summary', 'best_effort')),
    summary_version INTEGER,
    PRIMARY KEY (execution_id, attempt_index, ts_ms, seq)
);

-- The oldest best-effort frames of an attempt, to be trimmed.
CREATE INDEX stream_frame_best_effort ON stream_frame (
    execution_id, attempt_index, ts_ms, seq
) WHERE mode = 'best_effort';

CREATE TABLE resume_grant (
    grant_id TEXT PRIMARY KEY,
    execution_id TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    actor TEXT,
    issued_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER
);

CREATE INDEX resume_grant_of_execution ON resume_grant (execution_id, grant_id);
