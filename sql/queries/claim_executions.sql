-- One statement, so that of several runs exactly one gets each execution. Another run's lease on this host is dead,
-- because this run holds the host's lock. A row that has changed since the run read it, or is no longer due, waits for
-- the next run. The record of the last commit stays until the next one, that of failures while the row says the same.
-- What an operator holds, and what waits after failures, is not claimed.
INSERT INTO janitor_migrations AS migration
    (execution_id, uuid, state, host, run_id, fencing_token, lease_expires_at, directory, executed_at)
SELECT
    execution.id, execution.uuid::text, 'migrating', %(host)s, %(run_id)s, 1,
    now() + make_interval(secs => %(lease_seconds)s), execution.ruta_directorio, execution.fecha_ejecucion::timestamptz
FROM unnest(%(execution_ids)s::bigint[], %(uuids)s::text[], %(directories)s::text[]) AS wanted (id, uuid, directory)
JOIN ejecuciones_yaml AS execution ON execution.id = wanted.id
WHERE execution.migrado_a_nube IS NOT TRUE
  AND execution.uuid::text = wanted.uuid
  AND execution.ruta_directorio IS NOT DISTINCT FROM wanted.directory
  AND (
        %(retention_seconds)s IS NULL
        OR execution.fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
    )
  AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = execution.id)
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
    executed_at = excluded.executed_at,
    last_held_at = coalesce(
        migration.lease_expires_at - make_interval(secs => %(lease_seconds)s), migration.last_held_at
    ),
    claimed_at = now(),
    failed_runs = CASE
        WHEN migration.uuid = excluded.uuid
         AND migration.directory IS NOT DISTINCT FROM excluded.directory
         AND migration.executed_at IS NOT DISTINCT FROM excluded.executed_at
        THEN migration.failed_runs
        ELSE 0
    END,
    next_try_at = NULL,
    quarantined_at = NULL
WHERE (
        migration.lease_expires_at IS NULL
        OR migration.lease_expires_at < now()
        OR (migration.host = excluded.host AND migration.run_id <> excluded.run_id)
    )
  AND (
        (migration.quarantined_at IS NULL AND coalesce(migration.next_try_at <= now(), true))
        OR migration.uuid <> excluded.uuid
        OR migration.directory IS DISTINCT FROM excluded.directory
        OR migration.executed_at IS DISTINCT FROM excluded.executed_at
    )
RETURNING
    migration.execution_id, migration.fencing_token,
    migration.set_aside_inode, migration.uri, migration.provider_id, migration.file_count, migration.size_bytes, migration.manifest_sha256
