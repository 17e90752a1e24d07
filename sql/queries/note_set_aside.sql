-- Asked and written at once, before the directory is renamed: whether it may be removed, as in
-- deletion_seconds_left.sql, and which one it is, so that a later run can tell whether the trash name holds it.
WITH held AS (
    SELECT
        migration.execution_id,
        extract(epoch FROM migration.lease_expires_at - now()) AS seconds_left,
        coalesce(
            (
                SELECT to_jsonb(config) -> 'eliminar_despues_de_migrar' = 'true'::jsonb
                FROM ejecuciones_config AS config
                ORDER BY config.id DESC
                LIMIT 1
            ),
            false
        ) AS is_wanted,
        EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = migration.execution_id) AS is_held,
        janitor_is_known_bad(migration.execution_id, migration.provider_id, migration.uri) AS is_known_bad
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.execution_id = %(execution_id)s
      AND migration.fencing_token = %(fencing_token)s
      AND migration.lease_expires_at IS NOT NULL
      AND migration.state = 'migrated'
      AND migration.local_copy = 'deleting'
      AND execution.migrado_a_nube
      AND execution.uuid::text = migration.uuid
      AND execution.ruta_directorio = migration.directory
      AND execution.ruta_nube = migration.uri
      AND execution.nube_provider_id = migration.provider_id
),
noted AS (
    UPDATE janitor_migrations
    SET deletion_token = fencing_token, set_aside_inode = %(inode)s, emptied_in = NULL
    WHERE execution_id IN (SELECT execution_id FROM held WHERE is_wanted AND NOT is_held AND NOT is_known_bad)
      AND fencing_token = %(fencing_token)s
)
SELECT seconds_left, is_wanted, is_held, is_known_bad FROM held
