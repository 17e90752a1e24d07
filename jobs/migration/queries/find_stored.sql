-- The rows of several executions, whatever their state, a migrated one of each uuid first.
SELECT
    execution.id,
    execution.uuid::text AS uuid,
    execution.migrado_a_nube IS TRUE AS migrated,
    execution.ruta_nube AS uri,
    execution.nube_provider_id AS provider_id,
    execution.ruta_directorio AS directory,
    CASE WHEN migration.uri = execution.ruta_nube THEN migration.manifest_sha256 END AS manifest_sha256,
    coalesce(migration.local_copy = 'deleting', false) AS is_being_removed,
    migration.file_count
FROM ejecuciones_yaml AS execution
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
WHERE execution.uuid::text = ANY(%(uuids)s)
ORDER BY uuid, migrated DESC, execution.id DESC
