-- Now by the server's clock, in milliseconds since the Unix epoch.
SELECT floor(extract(EPOCH FROM clock_timestamp()) * 1000)::bigint
