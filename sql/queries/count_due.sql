-- The number of due, unclaimed executions that this run has not claimed, up to a limit.
SELECT count(*) AS count
FROM (
    SELECT 1
    FROM ejecuciones_yaml AS execution
    LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
    WHERE execution.migrado_a_nube IS NOT TRUE
      AND execution.ruta_directorio IS NOT NULL
      AND execution.fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
      AND migration.run_id IS DISTINCT FROM %(run_id)s
      AND (
            migration.lease_expires_at IS NULL
            OR migration.lease_expires_at < now()
            OR migration.host = %(host)s
        )
    LIMIT %(count_to)s
) AS due
