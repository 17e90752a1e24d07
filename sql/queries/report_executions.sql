-- Executions by the day on which they were executed, and local copies by the day on which they were deleted. To compare
-- with a date costs a fraction of what the conversion of each row costs; the two days more are for zones. No index tells
-- dates of the platform's table: of a large one only the rows with the last ids are read. A date for each row, made from
-- its time and the zone, would take most of the time: days are found by the times at which they begin.
WITH days AS (
    SELECT
        (now() AT TIME ZONE %(zone)s)::date - %(days)s - 1 AS before,
        ARRAY(
            SELECT ((now() AT TIME ZONE %(zone)s)::date - back)::timestamp AT TIME ZONE %(zone)s
            FROM generate_series(%(days)s, 0, -1) AS back
        ) AS starts
),
last_rows AS (
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
    ((SELECT before FROM days) + width_bucket(fecha_ejecucion::timestamptz, (SELECT starts FROM days)))::text AS day,
    count(*) AS executed,
    0::bigint AS freed_bytes
FROM dated
WHERE fecha_ejecucion::timestamptz >= now() - make_interval(days => %(days)s)
  AND fecha_ejecucion::timestamptz <= now()
GROUP BY width_bucket(fecha_ejecucion::timestamptz, (SELECT starts FROM days))
UNION ALL
SELECT
    ((SELECT before FROM days) + width_bucket(migration.deleted_at, (SELECT starts FROM days)))::text,
    0,
    coalesce(sum(migration.size_bytes), 0)::bigint
FROM janitor_migrations AS migration
WHERE migration.deleted_at >= now() - make_interval(days => %(days)s)
GROUP BY width_bucket(migration.deleted_at, (SELECT starts FROM days))
