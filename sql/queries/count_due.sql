-- The number of due, unclaimed executions that this run has not claimed, up to a limit, as in find_candidates.sql.
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
      AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = execution.id)
      AND (
            (migration.quarantined_at IS NULL AND coalesce(migration.next_try_at <= now(), true))
            OR migration.uuid <> execution.uuid::text
            OR migration.directory IS DISTINCT FROM execution.ruta_directorio
            OR migration.executed_at IS DISTINCT FROM execution.fecha_ejecucion::timestamptz
        )
    LIMIT %(count_to)s
) AS due
