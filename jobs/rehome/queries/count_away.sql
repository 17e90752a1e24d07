-- How much is not at the primary provider, by provider.
SELECT migration.provider_id, count(*) AS executions, coalesce(sum(migration.size_bytes), 0)::bigint AS size_bytes
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE (migration.provider_id < %(home_id)s OR migration.provider_id > %(home_id)s)
  AND migration.state = 'migrated'
  AND migration.local_copy <> 'deleting'
  AND migration.manifest_sha256 IS NOT NULL
  AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = migration.execution_id)
  AND execution.migrado_a_nube
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
GROUP BY migration.provider_id
ORDER BY migration.provider_id
