-- The triggers on the log: what each is for, what it runs, and whether it fires here.
SELECT
    t.tgname::text AS name,
    t.tgtype::integer AS kind,
    p.prosrc AS source,
    (
        t.tgenabled = 'A'
        OR (
            t.tgenabled = 'O'
            AND current_setting('session_replication_role') <> 'replica'
        )
    )
    AND t.tgqual IS NULL
    AND t.tgattr::text = '' AS is_on
FROM pg_catalog.pg_trigger AS t
INNER JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
WHERE t.tgrelid = 'stored_events'::regclass AND NOT t.tgisinternal
