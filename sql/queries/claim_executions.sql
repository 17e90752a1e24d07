-- One statement, so that of several runs exactly one gets each execution. A lease of this host left by another run
-- is dead: this run holds the host's lock.
INSERT INTO janitor_migrations AS migration
    (execution_id, uuid, state, host, run_id, fencing_token, lease_expires_at, directory)
SELECT
    execution.id, execution.uuid::text, 'migrating', %(host)s, %(run_id)s, 1,
    now() + make_interval(secs => %(lease_seconds)s), execution.ruta_directorio
FROM ejecuciones_yaml AS execution
WHERE execution.id = ANY(%(execution_ids)s)
  AND execution.migrado_a_nube IS NOT TRUE
ORDER BY execution.id
ON CONFLICT (execution_id) DO UPDATE SET
    uuid = excluded.uuid,
    state = 'migrating',
    local_copy = 'kept',
    host = excluded.host,
    run_id = excluded.run_id,
    fencing_token = migration.fencing_token + 1,
    lease_expires_at = excluded.lease_expires_at,
    directory = excluded.directory,
    claimed_at = now()
WHERE migration.lease_expires_at IS NULL
   OR migration.lease_expires_at < now()
   OR (migration.host = excluded.host AND migration.run_id <> excluded.run_id)
RETURNING migration.execution_id, migration.fencing_token, migration.attempts
