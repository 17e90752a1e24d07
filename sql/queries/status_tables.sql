-- Whether counting every row would take longer than an operator should wait, and whether a look tells what is pending
-- instead. A look that is a little out of date is completed: see status_pending.
SELECT
    now() AS now,
    pg_relation_size('ejecuciones_yaml') + pg_relation_size('janitor_migrations') >= %(large_table_bytes)s AS is_large,
    (SELECT looked_at FROM janitor_looks WHERE last_table_id IS NOT NULL AND looked_at > now() - interval '2 days')
        AS looked_at,
    (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'ejecuciones_yaml'::regclass) AS estimated_rows,
    (SELECT count(*) FROM janitor_migrations WHERE local_copy = 'deleting') AS deletions_unfinished
