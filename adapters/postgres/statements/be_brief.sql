-- Let the rest of this transaction wait for a lock no longer than given, and for no
-- standby at its end.
SELECT
    set_config('lock_timeout', %(lock_timeout)s, TRUE),
    set_config(
        'synchronous_commit',
        CASE
            WHEN current_setting('synchronous_commit') = 'off' THEN 'off' ELSE 'local'
        END,
        TRUE
    )
