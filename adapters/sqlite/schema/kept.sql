-- What is never dropped: the log of events, the store's own facts, and the rates of
-- best-effort frames. Everything else is projected from the log (projected.sql).

CREATE TABLE leasehold_meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The column notification_id is the position in the log. It is declared, so that
-- VACUUM and a dump keep the positions.
CREATE TABLE stored_events (
    notification_id INTEGER PRIMARY KEY,
    originator_id TEXT NOT NULL,
    originator_version INTEGER NOT NULL CHECK (
        typeof(originator_version) = 'integer' AND originator_version >= 1
    ),
    topic TEXT NOT NULL,
    state BLOB NOT NULL CHECK (typeof(state) = 'blob'),
    UNIQUE (originator_id, originator_version)
);

CREATE TRIGGER stored_events_are_never_updated
BEFORE UPDATE ON stored_events
BEGIN
    SELECT RAISE(ABORT, 'stored events are never updated');
END;

CREATE TRIGGER stored_events_are_never_deleted
BEFORE DELETE ON stored_events
BEGIN
    SELECT RAISE(ABORT, 'stored events are never deleted');
END;

-- INSERT OR REPLACE deletes without firing the trigger above.
CREATE TRIGGER stored_events_are_never_replaced
BEFORE INSERT ON stored_events
WHEN EXISTS (
    SELECT 1 FROM stored_events
    WHERE originator_id = NEW.originator_id
        AND originator_version = NEW.originator_version
) OR EXISTS (
    SELECT 1 FROM stored_events WHERE notification_id = NEW.notification_id
)
BEGIN
    SELECT RAISE(ABORT, 'stored events are never replaced');
END;

-- How far the projections of callers' own are. Stores made before it was there get it
-- with the first of them.
CREATE TABLE IF NOT EXISTS leasehold_projection (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE best_effort_rate (
    execution_id TEXT NOT NULL,
    attempt_index INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL,
    frames_per_second REAL NOT NULL,
    frame_count INTEGER NOT NULL,
    PRIMARY KEY (execution_id, attempt_index)
) WITHOUT ROWID;
