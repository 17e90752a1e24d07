INSERT INTO janitor_looks (id, table_state, looked_at, execution_ids, executed_at)
VALUES (1, %(table_state)s, now(), %(execution_ids)s::bigint[], %(executed_at)s::timestamptz[])
ON CONFLICT (id) DO UPDATE SET
    table_state = excluded.table_state,
    looked_at = excluded.looked_at,
    execution_ids = excluded.execution_ids,
    executed_at = excluded.executed_at
