-- The due executions among those that the last look found, if the platform's table has not changed since. From version
-- 15 on, unless switched off, PostgreSQL counts inserted, updated and deleted rows and publishes the counts within ten
-- seconds after the commit. A table's counts exclude tables that inherit from it, and a crash resets them, hence the
-- limit of a day. A small table is scanned each time. A large one without such counts is, too (`table_state` is NULL).
WITH present AS (
    SELECT
        CASE
            WHEN relkind = 'r'
                AND NOT relhassubclass
                AND current_setting('track_counts')::boolean
                AND current_setting('server_version_num')::integer >= 150000
            THEN concat_ws(
                ' ', oid, relfilenode,
                pg_stat_get_tuples_inserted(oid), pg_stat_get_tuples_updated(oid), pg_stat_get_tuples_deleted(oid)
            )
        END AS table_state
    FROM pg_class
    WHERE oid = 'ejecuciones_yaml'::regclass AND pg_relation_size(oid) >= %(large_table_bytes)s
)
SELECT
    present.table_state,
    look.execution_ids[
        :width_bucket(now() - make_interval(secs => %(retention_seconds)s), look.executed_at)
    ] AS due_ids
FROM present
LEFT JOIN janitor_looks AS look
    ON look.table_state = present.table_state AND look.looked_at > now() - interval '1 day'
