-- The copies that rows say are stored, with what the daemon knows of each: those at a provider, or single executions. What
-- is NULL limits nothing.
SELECT
    execution.id AS execution_id, execution.uuid::text AS uuid, execution.ruta_directorio AS directory,
    execution.nube_provider_id AS provider_id, execution.ruta_nube AS uri,
    migration.manifest_sha256, migration.file_count, migration.size_bytes, migration.local_copy,
    migration.listing_digest
FROM ejecuciones_yaml AS execution
LEFT JOIN janitor_migrations AS migration
    ON migration.execution_id = execution.id
    AND migration.uri = execution.ruta_nube
    AND migration.provider_id = execution.nube_provider_id
WHERE execution.migrado_a_nube
  AND execution.ruta_nube IS NOT NULL
  AND execution.nube_provider_id IS NOT NULL
  AND (%(provider_id)s::integer IS NULL OR execution.nube_provider_id = %(provider_id)s)
  AND (%(execution_ids)s::bigint[] IS NULL OR execution.id = ANY(%(execution_ids)s::bigint[]))
  AND execution.id > %(after_id)s
ORDER BY execution.id
LIMIT %(page_size)s
