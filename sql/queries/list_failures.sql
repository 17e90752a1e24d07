SELECT migration.uuid, migration.state, migration.error_code, migration.error, migration.attempts,
       migration.claimed_at::text AS claimed_at
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE (
        migration.state IN ('failed', 'refused')
        AND migration.error_code IS DISTINCT FROM 'interrupted'
        AND execution.migrado_a_nube IS NOT TRUE
        AND execution.ruta_directorio IS NOT NULL
    )
   OR (migration.local_copy = 'deleting' AND migration.error IS NOT NULL)
ORDER BY migration.claimed_at DESC, migration.execution_id DESC
LIMIT %(page_size)s
