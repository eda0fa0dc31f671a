-- Add the digest of an original to those that are noted, if it is not one of them. Two
-- who add one at a time wait for each other: neither is lost.
INSERT INTO leasehold_meta AS noted (key, value)
VALUES ('redacted_from', %(original_sha256)s)
ON CONFLICT (key) DO UPDATE
SET value = noted.value || ',' || excluded.value
WHERE NOT excluded.value = ANY (string_to_array(noted.value, ','))
