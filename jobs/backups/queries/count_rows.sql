-- Within a savepoint, so that a failure leaves the snapshot whole and the locks of indexes are given back.
SAVEPOINT janitor_count;
SELECT pg_catalog.count(*) FROM {{source}}
