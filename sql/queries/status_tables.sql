-- Whether counting every row would take longer than an operator should wait, and whether a single look at each would.
SELECT
    now() AS now,
    pg_relation_size('ejecuciones_yaml') + pg_relation_size('janitor_migrations') >= %(large_table_bytes)s AS is_large,
    pg_relation_size('ejecuciones_yaml') >= %(huge_table_bytes)s AS is_huge,
    (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'ejecuciones_yaml'::regclass) AS estimated_rows,
    (SELECT count(*) FROM janitor_migrations WHERE local_copy = 'deleting') AS deletions_unfinished
