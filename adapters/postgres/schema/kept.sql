-- What is never dropped: the log of events, the store's own facts, and the rates of
-- best-effort frames. Everything else is projected from the log (projected.sql).

CREATE TABLE leasehold_meta (
    key TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- The column notification_id is the position in the log. transaction_id tells which
-- events were committed together; the settled position looks it up.
CREATE TABLE stored_events (
    originator_id TEXT COLLATE "C" NOT NULL,
    originator_version BIGINT NOT NULL CHECK (originator_version >= 1),
    topic TEXT COLLATE "C" NOT NULL,
    state BYTEA NOT NULL,
    notification_id BIGSERIAL PRIMARY KEY,
    transaction_id XID8 NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (originator_id, originator_version)
);

CREATE INDEX stored_events_transaction ON stored_events (transaction_id);

CREATE FUNCTION leasehold_refuse() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'stored events are never %', TG_ARGV[0];
END
$$;

CREATE TRIGGER stored_events_are_never_updated
BEFORE UPDATE ON stored_events
FOR EACH ROW EXECUTE FUNCTION leasehold_refuse('updated');

CREATE TRIGGER stored_events_are_never_deleted
BEFORE DELETE ON stored_events
FOR EACH ROW EXECUTE FUNCTION leasehold_refuse('deleted');

CREATE TRIGGER stored_events_are_never_truncated
BEFORE TRUNCATE ON stored_events
FOR EACH STATEMENT EXECUTE FUNCTION leasehold_refuse('truncated');

-- The number of the advisory locks by which the writers of this ledger, and of no
-- other in the database, tell where their events may come to stand.
CREATE FUNCTION leasehold_floor_class() RETURNS INTEGER
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT (((oid::bigint + 2147483648) % 4294967296) - 2147483648)::integer
    FROM (SELECT 'stored_events'::regclass::oid AS oid) AS log
$$;

-- A writer calls this when it holds its row locks, before it draws positions: all that
-- it draws lie above the last one drawn so far. The lock ends with its transaction, or
-- with the savepoint that it was taken under.
-- The lock has room for the lower 32 bits; a reader finds the others again, as no
-- transaction is two thousand million positions behind.
-- (A SELECT from the sequence may read 32 too much while another draws from it: the
-- tuple holds for a moment what goes to the write-ahead log. pg_sequence_last_value
-- reads under the lock of the page.)
CREATE FUNCTION leasehold_take_floor() RETURNS VOID
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    SELECT pg_advisory_xact_lock_shared(
        leasehold_floor_class(),
        (((drawn + 2147483648) % 4294967296) - 2147483648)::integer
    )
    FROM (
        SELECT coalesce(
            pg_sequence_last_value('stored_events_notification_id_seq'), 0
        ) AS drawn
    ) AS positions
$$;

-- The last event that is committed, the lowest floor that a writer holds below it, and
-- the process that holds it. The order of the two readings is what makes it right:
-- first the log, then the locks. Whoever may still commit an event below the last one
-- drew its position before that one was drawn, so its floor was taken before the log
-- was read here.
CREATE FUNCTION leasehold_lowest_floor(
    OUT committed BIGINT, OUT settled BIGINT, OUT held_by INTEGER
)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
    SELECT coalesce(max(e.notification_id), 0)
    INTO committed
    FROM stored_events AS e;

    SELECT committed - floors.behind, floors.pid
    INTO settled, held_by
    FROM (
        SELECT (committed - l.objid::bigint) & 4294967295 AS behind, l.pid
        FROM pg_catalog.pg_locks AS l
        WHERE l.locktype = 'advisory'
            AND l.objsubid = 2
            AND l.granted
            AND l.mode = 'ShareLock'
            AND l.classid = 'stored_events'::regclass::oid
            AND l.database = (
                SELECT d.oid FROM pg_catalog.pg_database AS d
                WHERE d.datname = current_database()
            )
    ) AS floors
    -- Any further behind is a floor ahead of the last event.
    WHERE floors.behind BETWEEN 1 AND 2147483647
    ORDER BY floors.behind DESC
    LIMIT 1;

    settled := coalesce(settled, committed);
END
$$;

-- The settled position for whoever sees what `seen` shows: no event at or below it is
-- still to come, and none is committed that `seen` does not show. Called by
-- leasehold_settled_position; volatile, so that its queries see what is committed now.
-- (Adding 0 keeps the planner from walking the whole log for the least. In a restored
-- log transaction_id may name one that is yet to come, or runs now: such rows are not
-- its own.)
CREATE FUNCTION leasehold_settle(seen PG_SNAPSHOT) RETURNS BIGINT
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    settled BIGINT;
    unseen BIGINT;
BEGIN
    SELECT f.settled INTO settled FROM leasehold_lowest_floor() AS f;

    SELECT min(s.notification_id + 0)
    INTO unseen
    FROM stored_events AS s
    WHERE pg_visible_in_snapshot(s.transaction_id, pg_current_snapshot())
        AND (
            s.transaction_id = ANY (ARRAY(SELECT pg_snapshot_xip(seen)))
            OR (
                s.transaction_id >= pg_snapshot_xmax(seen)
                AND s.transaction_id < pg_snapshot_xmax(pg_current_snapshot())
            )
        );

    RETURN least(settled, unseen - 1);
END
$$;

-- The position up to which nothing can still appear, for the statement that calls it:
--     SELECT … WHERE notification_id > $1
--         AND notification_id <= (SELECT leasehold_settled_position())
-- In brackets it is asked once for the statement. Without them the database asks as
-- often as it likes, for each row if it must: the first answer is kept for the rest of
-- the statement, but not from one FETCH of a cursor to the next, which may then pass
-- events over. (A kept answer may be low, never wrong: what is settled for a snapshot
-- stays so.)
-- An answer can be lower than an earlier one, when a writer was slow to tell its floor:
-- whoever remembers how far it has read keeps the higher.
CREATE FUNCTION leasehold_settled_position(
    seen PG_SNAPSHOT DEFAULT pg_current_snapshot()
) RETURNS BIGINT
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path FROM CURRENT AS $$
DECLARE
    kept TEXT := 'leasehold.settled_' || 'stored_events'::regclass::oid;
    asked TEXT := concat_ws(' ', now(), statement_timestamp(), seen);
    answered TEXT := current_setting(kept, true);
    settled BIGINT;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby does not know which positions are settled'
            USING HINT = 'Ask the primary.';
    END IF;
    IF current_setting('transaction_isolation') NOT IN
        ('read committed', 'read uncommitted')
    THEN
        RAISE EXCEPTION 'a transaction with one snapshot for all its statements '
            'cannot tell which positions are settled'
            USING HINT = 'Ask in READ COMMITTED.';
    END IF;
    IF split_part(answered, '=', 1) = asked THEN
        RETURN split_part(answered, '=', 2)::bigint;
    END IF;
    settled := leasehold_settle(seen);
    PERFORM set_config(kept, concat(asked, '=', settled), false);
    RETURN settled;
END
$$;

-- Followers of the log hold a shared lock of this number; a writer that finds it free
-- has nobody to wake.
CREATE FUNCTION leasehold_is_followed() RETURNS BOOLEAN
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN pg_try_advisory_lock(leasehold_floor_class() # 2, 0)
        THEN NOT pg_advisory_unlock(leasehold_floor_class() # 2, 0)
        ELSE TRUE
    END
$$;

-- How far the projections of callers' own are.
CREATE TABLE leasehold_projection (
    name TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL
);

-- What stands for a capability set in an index, which takes no more than 2704 bytes:
-- the set itself, or its beginning with a digest.
CREATE FUNCTION leasehold_set(capabilities TEXT) RETURNS TEXT
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN octet_length(capabilities) <= 1000 THEN capabilities
        ELSE left(capabilities, 200)
            || ' ' || hashtextextended(capabilities, 0)::text
            || ' ' || hashtextextended(capabilities, 1)::text
    END COLLATE "C"
$$;

CREATE TABLE best_effort_rate (
    execution_id TEXT COLLATE "C" NOT NULL,
    attempt_index BIGINT NOT NULL,
    last_at_ms BIGINT NOT NULL,
    frames_per_second DOUBLE PRECISION NOT NULL,
    frame_count BIGINT NOT NULL,
    PRIMARY KEY (execution_id, attempt_index)
);
