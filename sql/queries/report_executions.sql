-- Executions by the day on which they were executed, and local copies by the day on which they were deleted. To compare
-- with a date costs a fraction of what the conversion of each row costs; the two days more are for zones.
SELECT
    (execution.fecha_ejecucion::timestamptz AT TIME ZONE %(zone)s)::date::text AS day,
    count(*) AS executed,
    0::bigint AS freed_bytes
FROM ejecuciones_yaml AS execution
WHERE execution.ruta_directorio IS NOT NULL
  AND execution.fecha_ejecucion >= current_date - (%(days)s + 2)
  AND execution.fecha_ejecucion::timestamptz >= now() - make_interval(days => %(days)s)
  AND execution.fecha_ejecucion::timestamptz <= now()
GROUP BY 1
UNION ALL
SELECT (migration.deleted_at AT TIME ZONE %(zone)s)::date::text, 0, coalesce(sum(migration.size_bytes), 0)::bigint
FROM janitor_migrations AS migration
WHERE migration.deleted_at >= now() - make_interval(days => %(days)s)
GROUP BY 1
