-- Settle a connection, or one transaction where a pooler gives each another connection
-- of the server. A server may be set to commit more carefully than "on"; to less it may
-- not. A single query is a transaction too, begun as the server is set to. All queries
-- have an index: a plan made while a table was small must not scan it once it is large.
-- Does nothing where the process is another than was expected.
SELECT
    set_config('lock_timeout', %(lock_timeout)s, %(one_transaction)s),
    set_config(
        'idle_in_transaction_session_timeout',
        %(idle_in_transaction_session_timeout)s,
        %(one_transaction)s
    ),
    set_config(
        'search_path',
        coalesce(%(search_path)s, current_setting('search_path')),
        %(one_transaction)s
    ),
    set_config(
        'synchronous_commit',
        coalesce(
            %(synchronous_commit)s,
            replace(current_setting('synchronous_commit'), 'off', 'on')
        ),
        %(one_transaction)s
    ),
    set_config('enable_seqscan', 'off', %(one_transaction)s),
    set_config(
        'default_transaction_isolation', 'read committed', %(one_transaction)s
    ),
    set_config(
        'default_transaction_read_only',
        coalesce(
            %(default_transaction_read_only)s,
            current_setting('default_transaction_read_only')
        ),
        %(one_transaction)s
    )
WHERE coalesce(%(process)s, pg_backend_pid()) = pg_backend_pid()
