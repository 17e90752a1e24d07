-- A page of migrated executions in the order of their ids: of one provider, or of a period, or of both.
SELECT
    execution.id,
    execution.uuid::text AS uuid,
    true AS migrated,
    execution.ruta_nube AS uri,
    execution.nube_provider_id AS provider_id,
    execution.ruta_directorio AS directory,
    CASE WHEN migration.uri = execution.ruta_nube THEN migration.manifest_sha256 END AS manifest_sha256,
    coalesce(migration.local_copy = 'deleting', false) AS is_being_removed,
    migration.file_count
FROM ejecuciones_yaml AS execution
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
WHERE execution.migrado_a_nube
  AND execution.id > %(after_id)s
  AND (%(provider_id)s::bigint IS NULL OR execution.nube_provider_id = %(provider_id)s)
  AND (%(since)s::timestamptz IS NULL OR execution.fecha_ejecucion::timestamptz >= %(since)s)
  AND (%(before)s::timestamptz IS NULL OR execution.fecha_ejecucion::timestamptz < %(before)s)
ORDER BY execution.id
LIMIT %(page_size)s
