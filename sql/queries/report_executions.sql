-- Executions by the day on which they were executed, and local copies by the day on which they were deleted. To compare
-- with a date costs a fraction of what the conversion of each row costs; the two days more are for zones. No index tells
-- dates of the platform's table: of a large one only the rows with the last ids are read.
WITH last_rows AS (
    SELECT greatest(max(id) - %(rows_read)s, 0) AS after_id,
           pg_relation_size('ejecuciones_yaml') >= %(large_table_bytes)s AS is_large
    FROM ejecuciones_yaml
),
dated AS (
    SELECT fecha_ejecucion
    FROM ejecuciones_yaml
    WHERE NOT (SELECT is_large FROM last_rows)
      AND ruta_directorio IS NOT NULL
      AND fecha_ejecucion >= current_date - (%(days)s + 2)
    UNION ALL
    SELECT fecha_ejecucion
    FROM ejecuciones_yaml
    WHERE (SELECT is_large FROM last_rows)
      -- With both bounds the planner expects few rows, and reads them by the index.
      AND id BETWEEN (SELECT after_id + 1 FROM last_rows) AND (SELECT after_id + %(rows_read)s FROM last_rows)
      AND ruta_directorio IS NOT NULL
      AND fecha_ejecucion >= current_date - (%(days)s + 2)
)
SELECT
    (fecha_ejecucion::timestamptz AT TIME ZONE %(zone)s)::date::text AS day,
    count(*) AS executed,
    0::bigint AS freed_bytes
FROM dated
WHERE fecha_ejecucion::timestamptz >= now() - make_interval(days => %(days)s)
  AND fecha_ejecucion::timestamptz <= now()
GROUP BY 1
UNION ALL
SELECT (migration.deleted_at AT TIME ZONE %(zone)s)::date::text, 0, coalesce(sum(migration.size_bytes), 0)::bigint
FROM janitor_migrations AS migration
WHERE migration.deleted_at >= now() - make_interval(days => %(days)s)
GROUP BY 1
