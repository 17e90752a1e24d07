-- Copies of this database that are not at the primary provider, and that nobody works on. A claim without a host is one
-- of this job: on this host its earlier runs are dead. Where a person has changed the row, its copy is not known to be ours.
SELECT
    migration.execution_id, migration.uuid, migration.directory, migration.provider_id, migration.uri,
    migration.manifest_sha256, coalesce(migration.size_bytes, 0) AS size_bytes
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
LEFT JOIN janitor_rehomes AS rehome ON rehome.execution_id = migration.execution_id
WHERE (migration.provider_id < %(home_id)s OR migration.provider_id > %(home_id)s)
  AND migration.state = 'migrated'
  AND migration.local_copy <> 'deleting'
  AND migration.manifest_sha256 IS NOT NULL
  AND (
        migration.lease_expires_at IS NULL
        OR migration.lease_expires_at < now()
        OR EXISTS (
            SELECT FROM janitor_runs AS run
            WHERE migration.host = '' AND run.id = migration.run_id AND run.host = %(own_host)s
        )
    )
  AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = migration.execution_id)
  AND execution.migrado_a_nube
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
  AND (rehome.next_at IS NULL OR rehome.next_at <= now())
  AND migration.execution_id > %(after_id)s
ORDER BY migration.execution_id
LIMIT %(page_size)s
