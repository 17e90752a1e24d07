-- The executions in quarantine, the first one first, with the error that put each there.
SELECT migration.execution_id, migration.uuid, migration.error_code, coalesce(migration.error, '') AS error
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution
    ON execution.id = migration.execution_id AND execution.uuid::text = migration.uuid
WHERE migration.quarantined_at IS NOT NULL AND execution.migrado_a_nube IS NOT TRUE
ORDER BY migration.quarantined_at, migration.execution_id
