-- Settle one transaction, where a pooler gives each another connection of the server:
-- what a connection of our own is settled to once.
SELECT
    set_config('lock_timeout', %(lock_timeout)s, TRUE),
    set_config(
        'idle_in_transaction_session_timeout',
        %(idle_in_transaction_session_timeout)s,
        TRUE
    ),
    set_config(
        'search_path',
        coalesce(%(search_path)s, current_setting('search_path')),
        TRUE
    ),
    set_config(
        'synchronous_commit',
        coalesce(
            %(synchronous_commit)s,
            replace(current_setting('synchronous_commit'), 'off', 'on')
        ),
        TRUE
    )
