-- The projections: they can be dropped and rebuilt from the events to the same rows.

-- The columns of exec_core that change often; see the view below.
CREATE TABLE exec_state (
    execution_id TEXT COLLATE "C" PRIMARY KEY,
    namespace TEXT COLLATE "C" NOT NULL,
    lane_id TEXT COLLATE "C" NOT NULL,
    attempt_index BIGINT NOT NULL CHECK (attempt_index >= 0),
    lifecycle_phase TEXT COLLATE "C" NOT NULL CHECK (
        lifecycle_phase IN ('runnable', 'active', 'terminal')
    ),
    ownership_state TEXT COLLATE "C" NOT NULL CHECK (
        ownership_state IN (
            'unowned', 'leased', 'lease_expired_reclaimable', 'lease_revoked'
        )
    ),
    eligibility_state TEXT COLLATE "C" NOT NULL CHECK (
        eligibility_state IN (
            'eligible_now', 'not_eligible_until_time', 'not_applicable'
        )
    ),
    public_state TEXT COLLATE "C" NOT NULL CHECK (
        public_state IN (
            'pending', 'delayed', 'running',
            'completed', 'failed', 'cancelled', 'expired'
        )
    ),
    attempt_state TEXT COLLATE "C" NOT NULL CHECK (
        attempt_state IN (
            'initial', 'running_attempt', 'attempt_interrupted',
            'pending_retry_attempt', 'pending_replay_attempt', 'attempt_terminal'
        )
    ),
    priority BIGINT NOT NULL CHECK (priority BETWEEN -9000 AND 9000),
    created_at_ms BIGINT NOT NULL,
    started_at_ms BIGINT,
    eligible_at_ms BIGINT NOT NULL,
    deadline_at_ms BIGINT,
    terminal_at_ms BIGINT,
    lease_reclaim_count BIGINT NOT NULL CHECK (lease_reclaim_count >= 0),
    tags TEXT COLLATE "C" NOT NULL,
    raw_fields TEXT COLLATE "C" NOT NULL,
    capabilities TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C",
    arguments_sha256 TEXT COLLATE "C" NOT NULL,
    retry_policy TEXT COLLATE "C" NOT NULL,
    retry_count BIGINT NOT NULL,
    max_reclaim_count BIGINT NOT NULL,
    attempts_started BIGINT NOT NULL,
    lease_epoch BIGINT NOT NULL,
    terminal_cause TEXT COLLATE "C" CHECK (
        terminal_cause IN ('retries_exhausted', 'not_retryable', 'reclaims_exhausted')
    ),
    is_claimable BIGINT NOT NULL CHECK (is_claimable IN (0, 1)),
    stream_version BIGINT NOT NULL,
    stream_sha256 TEXT COLLATE "C" NOT NULL,
    refusals_version BIGINT NOT NULL,
    refusals_sha256 TEXT COLLATE "C",
    last_event_at_ms BIGINT NOT NULL
);

-- The claim: one run of this index for each capability set that waits in the lane.
CREATE INDEX exec_state_claimable ON exec_state (
    lane_id,
    leasehold_set(capabilities),
    priority DESC,
    created_at_ms,
    execution_id,
    deadline_at_ms
) WHERE is_claimable = 1;

CREATE INDEX exec_state_delayed ON exec_state (lane_id, eligible_at_ms)
WHERE eligibility_state = 'not_eligible_until_time';

CREATE INDEX exec_state_deadline ON exec_state (lane_id, deadline_at_ms)
WHERE deadline_at_ms IS NOT NULL AND lifecycle_phase <> 'terminal';

CREATE INDEX exec_state_expired ON exec_state (execution_id)
WHERE ownership_state = 'lease_expired_reclaimable';

CREATE UNIQUE INDEX exec_state_idempotency ON exec_state (namespace, idempotency_key)
WHERE idempotency_key IS NOT NULL;

-- Its columns are written so that the queries for which the other indexes are there
-- cannot use it: while the planner takes the table for a small one, it would.
CREATE INDEX exec_state_listed ON exec_state (
    (lane_id || ''), public_state, (execution_id || '')
);

-- The bytes of an execution, kept apart so that a claim does not rewrite them.
CREATE TABLE exec_blob (
    execution_id TEXT COLLATE "C" PRIMARY KEY,
    payload BYTEA NOT NULL DEFAULT '',
    result BYTEA
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
    coalesce(b.payload, ''::bytea) AS payload,
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
CREATE OR REPLACE FUNCTION leasehold_write_exec_core() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM exec_state WHERE execution_id = OLD.execution_id;
        DELETE FROM exec_blob WHERE execution_id = OLD.execution_id;
        RETURN OLD;
    ELSIF TG_OP = 'INSERT' THEN
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
            NEW.execution_id, coalesce(NEW.payload, ''), NEW.result
        );
        RETURN NEW;
    END IF;
    UPDATE exec_state SET (
        execution_id, namespace, lane_id, attempt_index, lifecycle_phase,
        ownership_state, eligibility_state, public_state, attempt_state, priority,
        created_at_ms, started_at_ms, eligible_at_ms, deadline_at_ms,
        terminal_at_ms, lease_reclaim_count, tags, raw_fields, capabilities,
        idempotency_key, arguments_sha256, retry_policy, retry_count,
        max_reclaim_count, attempts_started, lease_epoch, terminal_cause,
        is_claimable, stream_version, stream_sha256, refusals_version,
        refusals_sha256, last_event_at_ms
    ) = (
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
    )
    WHERE execution_id = OLD.execution_id;
    UPDATE exec_blob SET
        execution_id = NEW.execution_id, payload = NEW.payload, result = NEW.result
    WHERE execution_id = OLD.execution_id;
    IF NOT FOUND AND (NEW.payload <> '' OR NEW.result IS NOT NULL) THEN
        INSERT INTO exec_blob VALUES (NEW.execution_id, NEW.payload, NEW.result);
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER exec_core_is_written
INSTEAD OF INSERT OR UPDATE OR DELETE ON exec_core
FOR EACH ROW EXECUTE FUNCTION leasehold_write_exec_core();

CREATE TABLE attempt (
    execution_id TEXT COLLATE "C" NOT NULL,
    attempt_index BIGINT NOT NULL CHECK (attempt_index >= 0),
    worker_id TEXT COLLATE "C" NOT NULL,
    worker_instance_id TEXT COLLATE "C",
    lease_id TEXT COLLATE "C" NOT NULL,
    lease_epoch BIGINT NOT NULL CHECK (lease_epoch >= 1),
    lease_expires_at_ms BIGINT,
    started_at_ms BIGINT NOT NULL,
    terminal_at_ms BIGINT,
    outcome TEXT COLLATE "C" CHECK (
        outcome IN (
            'success', 'failed', 'retry', 'cancelled', 'expired',
            'interrupted_reclaimed'
        )
    ),
    failure_class TEXT COLLATE "C" CHECK (
        failure_class IN (
            'transient', 'infra_crash', 'permanent', 'timeout', 'cancelled'
        )
    ),
    failure_message TEXT COLLATE "C",
    failure_detail TEXT COLLATE "C",
    lane_id TEXT COLLATE "C" NOT NULL,
    lease_ttl_ms BIGINT NOT NULL,
    lease_state TEXT COLLATE "C" NOT NULL CHECK (
        lease_state IN ('held', 'expired', 'revoked', 'ended')
    ),
    lease_ended_at_ms BIGINT,
    stream_version BIGINT NOT NULL,
    stream_sha256 TEXT COLLATE "C" NOT NULL,
    frames_version BIGINT NOT NULL,
    frames_sha256 TEXT COLLATE "C",
    last_event_at_ms BIGINT NOT NULL,
    PRIMARY KEY (execution_id, attempt_index)
);

CREATE INDEX attempt_lease_due ON attempt (lane_id, lease_expires_at_ms)
WHERE lease_expires_at_ms IS NOT NULL;

-- What a decision needs: an execution with the last attempt that was started, and now
-- by the server's clock.
CREATE VIEW leasehold_loaded AS
SELECT
    e.execution_id,
    e.lane_id,
    e.lifecycle_phase,
    e.eligibility_state,
    e.public_state,
    e.priority,
    e.eligible_at_ms,
    e.deadline_at_ms,
    e.attempt_index,
    e.attempts_started,
    e.retry_policy,
    e.retry_count,
    e.max_reclaim_count,
    e.lease_reclaim_count,
    e.stream_version,
    e.stream_sha256,
    e.refusals_version,
    e.refusals_sha256,
    e.last_event_at_ms,
    a.worker_id,
    a.worker_instance_id,
    a.lease_id,
    a.lease_epoch,
    a.lease_ttl_ms,
    a.lease_state,
    a.lease_expires_at_ms,
    a.lease_ended_at_ms,
    a.outcome,
    a.stream_version AS attempt_stream_version,
    a.stream_sha256 AS attempt_stream_sha256,
    a.frames_version,
    a.frames_sha256,
    a.last_event_at_ms AS attempt_last_event_at_ms,
    floor(extract(EPOCH FROM clock_timestamp()) * 1000)::bigint AS now_ms
FROM exec_state AS e
LEFT JOIN attempt AS a
    ON a.execution_id = e.execution_id
    AND a.attempt_index = e.attempts_started - 1;

-- Lock an execution, then read: two statements, as what the one before left is seen by
-- a statement that begins after the lock was had, and by no other.
CREATE OR REPLACE FUNCTION leasehold_load(wanted TEXT)
RETURNS SETOF leasehold_loaded
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM exec_state WHERE execution_id = wanted FOR UPDATE;
    RETURN QUERY SELECT * FROM leasehold_loaded WHERE execution_id = wanted;
END
$$;

-- Lock those of some executions that nobody else holds, then read them in their order.
CREATE OR REPLACE FUNCTION leasehold_load_free(wanted TEXT[])
RETURNS SETOF leasehold_loaded
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
    free TEXT[];
BEGIN
    SELECT array_agg(f.execution_id)
    INTO free
    FROM (
        SELECT e.execution_id
        FROM exec_state AS e
        WHERE e.execution_id = ANY (wanted)
        FOR UPDATE SKIP LOCKED
    ) AS f;
    RETURN QUERY
    SELECT l.*
    FROM leasehold_loaded AS l
    WHERE l.execution_id = ANY (free)
    ORDER BY array_position(wanted, l.execution_id);
END
$$;

CREATE TABLE summary (
    execution_id TEXT COLLATE "C" NOT NULL,
    attempt_index BIGINT NOT NULL,
    document_json TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    patch_kind TEXT COLLATE "C" NOT NULL CHECK (patch_kind = 'json-merge-patch'),
    first_applied_ms BIGINT NOT NULL,
    last_updated_ms BIGINT NOT NULL,
    PRIMARY KEY (execution_id, attempt_index)
);

CREATE TABLE lease_event (
    event_id BIGINT PRIMARY KEY,
    execution_id TEXT COLLATE "C" NOT NULL,
    attempt_index BIGINT NOT NULL,
    lease_id TEXT COLLATE "C" NOT NULL,
    lease_epoch BIGINT NOT NULL,
    event_type TEXT COLLATE "C" NOT NULL CHECK (
        event_type IN (
            'acquired', 'renewed', 'expired', 'reclaimed', 'revoked', 'refused'
        )
    ),
    cause TEXT COLLATE "C" NOT NULL CHECK (
        cause IN (
            'claim', 'renew', 'sweep', 'resume_grant', 'completed',
            'retry_scheduled', 'failed', 'cancelled', 'deadline', 'operator',
            'lease_conflict', 'lease_expired', 'lease_revoked',
            'execution_not_active'
        )
    ),
    worker_id TEXT COLLATE "C",
    worker_instance_id TEXT COLLATE "C",
    actor TEXT COLLATE "C",
    expires_at_ms BIGINT,
    occurred_at_ms BIGINT NOT NULL,
    operation TEXT COLLATE "C",
    late_ms BIGINT,
    refused_count BIGINT
);

CREATE INDEX lease_event_of_execution ON lease_event (execution_id, event_id);

CREATE INDEX lease_event_of_worker ON lease_event (worker_id, event_id);

CREATE TABLE stream_frame (
    execution_id TEXT COLLATE "C" NOT NULL,
    attempt_index BIGINT NOT NULL,
    ts_ms BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    frame_type TEXT COLLATE "C" NOT NULL,
    payload BYTEA NOT NULL,
    correlation_id TEXT COLLATE "C",
    mode TEXT COLLATE "C" NOT NULL CHECK (
        mode IN ('durable', 'summary', 'best_effort')
    ),
    summary_version BIGINT,
    PRIMARY KEY (execution_id, attempt_index, ts_ms, seq)
);

-- The oldest best-effort frames of an attempt, to be trimmed.
CREATE INDEX stream_frame_best_effort ON stream_frame (
    execution_id, attempt_index, ts_ms, seq
) WHERE mode = 'best_effort';

CREATE TABLE resume_grant (
    grant_id TEXT COLLATE "C" PRIMARY KEY,
    execution_id TEXT COLLATE "C" NOT NULL,
    worker_id TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C",
    issued_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    used_at_ms BIGINT
);

CREATE INDEX resume_grant_of_execution ON resume_grant (execution_id, grant_id);
