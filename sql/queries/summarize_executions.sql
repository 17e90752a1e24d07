-- Pending executions have files: a row without a ruta_directorio left none. An execution stopped without a fault
-- (interrupted) is pending, not failed.
SELECT
    count(*) FILTER (WHERE execution.migrado_a_nube IS NOT TRUE AND execution.ruta_directorio IS NOT NULL) AS pending,
    count(*) FILTER (
        WHERE execution.migrado_a_nube IS NOT TRUE
          AND execution.ruta_directorio IS NOT NULL
          AND execution.fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
    ) AS due,
    count(*) FILTER (
        WHERE execution.migrado_a_nube IS NOT TRUE AND execution.ruta_directorio IS NULL
    ) AS without_files,
    count(*) FILTER (WHERE execution.migrado_a_nube) AS migrated,
    count(*) FILTER (
        WHERE execution.migrado_a_nube IS NOT TRUE
          AND execution.ruta_directorio IS NOT NULL
          AND migration.state IN ('failed', 'refused')
          AND migration.error_code IS DISTINCT FROM 'interrupted'
    ) AS failed,
    count(*) FILTER (WHERE execution.migrado_a_nube AND migration.local_copy = 'deleting') AS deletions_unfinished
FROM ejecuciones_yaml AS execution
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
