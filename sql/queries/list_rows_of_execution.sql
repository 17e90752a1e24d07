-- The rows that have this uuid, or had it when a run took them up last. The platform's table may have no index for it, so
-- it is read once.
WITH named AS (
    SELECT id, migrado_a_nube, ruta_directorio, ruta_nube, nube_provider_id
    FROM ejecuciones_yaml
    WHERE uuid::text = %(uuid)s
),
recorded AS (
    SELECT *
    FROM janitor_migrations
    WHERE execution_id IN (
        SELECT execution_id FROM janitor_migrations WHERE uuid = %(uuid)s
        UNION
        SELECT id FROM named
    )
)
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
FROM named AS execution
FULL JOIN recorded AS migration ON migration.execution_id = execution.id
LEFT JOIN janitor_holds AS hold ON hold.execution_id = coalesce(execution.id, migration.execution_id)
LEFT JOIN cloud_providers AS provider ON provider.id = execution.nube_provider_id
ORDER BY 1
