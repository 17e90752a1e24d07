-- Hosts that begin at the same minute would queue for the one row, the last of them for longer than a statement waits
-- for a lock: whoever finds another one writing leaves it at that. The lock ends with the transaction.
INSERT INTO janitor_looks (id, table_state, looked_at, execution_ids, executed_at)
SELECT 1, %(table_state)s, now(), %(execution_ids)s::bigint[], %(executed_at)s::timestamptz[]
WHERE pg_try_advisory_xact_lock(hashtext('janitor_looks'))
ON CONFLICT (id) DO UPDATE SET
    table_state = excluded.table_state,
    looked_at = excluded.looked_at,
    execution_ids = excluded.execution_ids,
    executed_at = excluded.executed_at
