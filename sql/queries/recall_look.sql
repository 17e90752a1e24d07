-- The due executions among those that the last look found, if nothing has changed in the platform's table since.
-- PostgreSQL counts every row that is inserted, updated or deleted, and tells within ten seconds after the commit, from
-- version 15 on and where it is not switched off; it does not count for a table what happens in those that inherit
-- from it, nor what it knew before a crash, hence the limit of a day. A small table is looked through each time.
WITH present AS (
    SELECT concat_ws(
        ' ', oid, relfilenode,
        pg_stat_get_tuples_inserted(oid), pg_stat_get_tuples_updated(oid), pg_stat_get_tuples_deleted(oid)
    ) AS table_state
    FROM pg_class
    WHERE oid = 'ejecuciones_yaml'::regclass
      AND relkind = 'r'
      AND NOT relhassubclass
      AND pg_relation_size(oid) >= %(large_table_bytes)s
      AND current_setting('track_counts')::boolean
      AND current_setting('server_version_num')::integer >= 150000
)
SELECT
    present.table_state,
    look.execution_ids[
        :width_bucket(now() - make_interval(secs => %(retention_seconds)s), look.executed_at)
    ] AS due_ids
FROM present
LEFT JOIN janitor_looks AS look
    ON look.table_state = present.table_state AND look.looked_at > now() - interval '1 day'
