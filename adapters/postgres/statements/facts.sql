-- What a person asks first: versions, settings, sizes, who holds readers back, and what
-- keeps the server from clearing up: a transaction that is old, or was left prepared.
SELECT
    current_setting('server_version') AS backend_version,
    current_schema() AS schema,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    current_setting('max_connections') AS max_connections,
    (
        SELECT count(*) FROM pg_catalog.pg_stat_activity
        WHERE datname = current_database()
    ) AS connections,
    pg_total_relation_size('stored_events') AS log_bytes,
    (
        SELECT sum(pg_total_relation_size(table_name))::bigint
        FROM unnest(
            ARRAY[
                'exec_state', 'exec_blob', 'attempt', 'summary',
                'lease_event', 'stream_frame', 'resume_grant'
            ]
        ) AS table_name
    ) AS tables_bytes,
    (SELECT count(*) FROM stored_events) AS events,
    floors.committed AS last_position,
    CASE WHEN NOT pg_is_in_recovery() THEN floors.settled END AS settled_position,
    CASE
        WHEN NOT pg_is_in_recovery() THEN floors.committed - floors.settled
    END AS lag,
    holder.pid AS held_back_by,
    holder.application_name AS held_back_by_application,
    host(holder.client_addr) AS held_back_by_address,
    holder.state AS held_back_by_state,
    floor(
        extract(EPOCH FROM clock_timestamp() - holder.xact_start) * 1000
    )::bigint AS held_back_for_ms,
    (
        SELECT seqcache FROM pg_catalog.pg_sequence
        WHERE seqrelid = 'stored_events_notification_id_seq'::regclass
    ) AS sequence_cache,
    oldest.pid AS oldest_transaction_by,
    oldest.application_name AS oldest_transaction_by_application,
    host(oldest.client_addr) AS oldest_transaction_by_address,
    oldest.state AS oldest_transaction_by_state,
    floor(
        extract(EPOCH FROM clock_timestamp() - oldest.xact_start) * 1000
    )::bigint AS oldest_transaction_for_ms,
    (
        SELECT floor(extract(EPOCH FROM clock_timestamp() - min(prepared)) * 1000)
        FROM pg_catalog.pg_prepared_xacts
        WHERE database = current_database()
    )::bigint AS prepared_for_ms,
    floor(extract(EPOCH FROM clock_timestamp()) * 1000)::bigint AS at_ms
FROM leasehold_lowest_floor() AS floors
LEFT JOIN pg_catalog.pg_stat_activity AS holder ON holder.pid = floors.held_by
LEFT JOIN LATERAL (
    SELECT a.pid, a.application_name, a.client_addr, a.state, a.xact_start
    FROM pg_catalog.pg_stat_activity AS a
    WHERE a.datname = current_database()
        AND a.pid <> pg_backend_pid()
        AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
    ORDER BY greatest(age(a.backend_xmin), age(a.backend_xid)) DESC
    LIMIT 1
) AS oldest ON TRUE
