-- Polled while a local copy is removed. Removal may continue while the claim holds, the row still points at the proven
-- copy and at this directory, no audit has found that copy bad, the policy in force asks for deletion (older installations
-- lack the column), and no operator holds the execution.
SELECT
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
