SELECT
    count(*) FILTER (WHERE execution.migrado_a_nube IS NOT TRUE) AS pending,
    count(*) FILTER (
        WHERE execution.migrado_a_nube IS NOT TRUE
          AND execution.fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
    ) AS due,
    count(*) FILTER (WHERE execution.migrado_a_nube) AS migrated,
    count(*) FILTER (
        WHERE execution.migrado_a_nube IS NOT TRUE AND migration.state IN ('failed', 'refused')
    ) AS failed,
    count(*) FILTER (WHERE execution.migrado_a_nube AND migration.local_copy = 'deleting') AS deletions_unfinished
FROM ejecuciones_yaml AS execution
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
