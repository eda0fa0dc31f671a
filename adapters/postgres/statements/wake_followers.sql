-- Wake those who follow the log. In a transaction of its own, after the one that wrote:
-- commits that notify wait for each other.
SELECT pg_notify('leasehold_' || %(log)s::regclass::oid, '')
