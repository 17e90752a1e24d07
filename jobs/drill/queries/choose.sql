-- Some stored executions at random that have room, and whose uuid names no other row.
SELECT
    migration.execution_id, migration.uuid, migration.provider_id, migration.uri, migration.manifest_sha256,
    coalesce(migration.size_bytes, 0) AS size_bytes
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE migration.state = 'migrated'
  AND migration.manifest_sha256 IS NOT NULL
  AND coalesce(migration.size_bytes, 0) <= %(most_bytes)s
  AND execution.migrado_a_nube
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
  AND NOT EXISTS (
        SELECT FROM ejecuciones_yaml AS other WHERE other.uuid = execution.uuid AND other.id <> execution.id
    )
ORDER BY random()
LIMIT %(count)s
