-- Executions that are not migrated because their last attempt failed, by cause.
SELECT
    coalesce(migration.error_code, '') AS error_code,
    count(*) AS executions,
    (array_agg(migration.uuid ORDER BY migration.claimed_at DESC))[1] AS uuid,
    (array_agg(coalesce(migration.error, '') ORDER BY migration.claimed_at DESC))[1] AS error
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE migration.state IN ('failed', 'refused')
  AND migration.error_code IS DISTINCT FROM 'interrupted'
  AND execution.migrado_a_nube IS NOT TRUE
  AND execution.ruta_directorio IS NOT NULL
GROUP BY 1
ORDER BY 2 DESC, 1
LIMIT 20
