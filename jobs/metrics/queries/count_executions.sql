-- One pass over the executions. An execution stopped without a fault (interrupted) is pending, not failed.
SET LOCAL statement_timeout = '20s';
WITH failed AS (
    SELECT count(*) AS count, count(*) FILTER (WHERE migration.quarantined_at IS NOT NULL) AS quarantined
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.state IN ('failed', 'refused')
      AND migration.error_code IS DISTINCT FROM 'interrupted'
      AND execution.migrado_a_nube IS NOT TRUE
      AND execution.ruta_directorio IS NOT NULL
)
SELECT
    count(*) FILTER (WHERE ruta_directorio IS NOT NULL) AS pending,
    count(*) FILTER (WHERE ruta_directorio IS NULL) AS without_directory,
    count(*) FILTER (
        WHERE ruta_directorio IS NOT NULL
          AND fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
    ) AS due,
    extract(epoch FROM min(fecha_ejecucion::timestamptz) FILTER (
        WHERE ruta_directorio IS NOT NULL
          AND fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
    ))::double precision AS oldest_due,
    (SELECT count FROM failed) AS failed,
    (SELECT quarantined FROM failed) AS quarantined,
    (SELECT count(*) FROM janitor_holds) AS held,
    extract(epoch FROM now())::double precision AS now
FROM ejecuciones_yaml
WHERE migrado_a_nube IS NOT TRUE
