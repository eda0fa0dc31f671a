-- What a person asks first: versions, settings, sizes, and who holds readers back.
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
    )::bigint AS held_back_for_ms
FROM leasehold_lowest_floor() AS floors
LEFT JOIN pg_catalog.pg_stat_activity AS holder ON holder.pid = floors.held_by
