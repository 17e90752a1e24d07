-- Hosts that start in the same minute would queue for the one row, the last for longer than the lock timeout: a host
-- that finds another one writing skips the write. The lock ends with the transaction. A look without `table_state` is
-- never taken up by another run: it is for `status`, metrics and reports.
INSERT INTO janitor_looks (id, table_state, looked_at, execution_ids, executed_at, last_table_id)
SELECT 1, coalesce(%(table_state)s, ''), now(), %(execution_ids)s::bigint[], %(executed_at)s::timestamptz[], %(last_table_id)s
WHERE pg_try_advisory_xact_lock(hashtext('janitor_looks'))
ON CONFLICT (id) DO UPDATE SET
    table_state = excluded.table_state,
    looked_at = excluded.looked_at,
    execution_ids = excluded.execution_ids,
    executed_at = excluded.executed_at,
    last_table_id = excluded.last_table_id
