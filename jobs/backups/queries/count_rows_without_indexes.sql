-- As count_rows does, but in the table itself, as COPY reads it: an index may be damaged. No plan uses an index only where
-- index scans are off.
SAVEPOINT janitor_count;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_seqscan = on;
SELECT pg_catalog.count(*) FROM {{source}}
