-- The rows that have this uuid, or had it when a run took them up last.
SELECT
    coalesce(execution.id, migration.execution_id) AS execution_id,
    execution.id IS NOT NULL AS has_row,
    coalesce(execution.migrado_a_nube, false) AS is_migrated,
    coalesce(execution.ruta_directorio, migration.directory) AS directory,
    execution.ruta_nube AS uri,
    execution.nube_provider_id AS provider_id,
    provider.nombre AS provider,
    migration.state, migration.local_copy, migration.error_code, migration.error, migration.file_count,
    migration.size_bytes, migration.evidence, migration.manifest_sha256, migration.migrated_at, migration.deleted_at,
    coalesce(migration.failed_runs, 0) AS failed_runs, migration.next_try_at, migration.quarantined_at,
    coalesce(migration.lease_expires_at > now(), false) AS is_under_way,
    hold.reason AS hold_reason, hold.held_at
FROM (SELECT * FROM ejecuciones_yaml WHERE uuid::text = %(uuid)s) AS execution
FULL JOIN (
    SELECT * FROM janitor_migrations
    WHERE uuid = %(uuid)s
       OR execution_id IN (SELECT id FROM ejecuciones_yaml WHERE uuid::text = %(uuid)s)
) AS migration ON migration.execution_id = execution.id
LEFT JOIN janitor_holds AS hold ON hold.execution_id = coalesce(execution.id, migration.execution_id)
LEFT JOIN cloud_providers AS provider ON provider.id = execution.nube_provider_id
ORDER BY 1
