-- Due executions in order of age, page by page: those after the last one of the page before.
-- A naive fecha_ejecucion is read in the database's time zone, as the session's is the database's.
WITH due AS (
    SELECT
        execution.id,
        execution.uuid::text AS uuid,
        execution.ruta_directorio,
        execution.fecha_ejecucion::timestamptz AS executed_at
    FROM ejecuciones_yaml AS execution
    WHERE execution.migrado_a_nube IS NOT TRUE
      AND execution.fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
)
SELECT due.id, due.uuid, due.ruta_directorio, due.executed_at::text AS executed_at
FROM due
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = due.id
WHERE (
        %(after_executed_at)s::timestamptz IS NULL
        OR (due.executed_at, due.id) > (%(after_executed_at)s::timestamptz, %(after_id)s)
    )
  AND (
        migration.lease_expires_at IS NULL
        OR migration.lease_expires_at < now()
        OR (migration.host = %(host)s AND migration.run_id <> %(run_id)s)
    )
ORDER BY due.executed_at, due.id
LIMIT %(page_size)s
