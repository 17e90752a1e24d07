-- Attempts that failed at one place, of executions that were migrated to another since: their rows say so still.
SELECT
    attempt.id, attempt.execution_id, migration.uuid, attempt.provider_id, attempt.key_prefix,
    coalesce(attempt.foreign_objects, true) AS foreign_objects, -- nobody has looked: nothing was sent
    migration.provider_id AS migrated_provider_id, migration.uri AS migrated_uri
FROM janitor_attempts AS attempt
JOIN janitor_migrations AS migration ON migration.execution_id = attempt.execution_id
JOIN ejecuciones_yaml AS execution
    ON execution.id = attempt.execution_id
    AND execution.migrado_a_nube
    AND execution.ruta_nube = migration.uri
    AND execution.nube_provider_id = migration.provider_id
WHERE attempt.state IN ('open', 'abandoned')
  AND (migration.lease_expires_at IS NULL OR migration.host = %(host)s)
  AND attempt.id > %(after_id)s
ORDER BY attempt.id
LIMIT %(page_size)s
