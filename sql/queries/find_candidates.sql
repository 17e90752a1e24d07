-- The given executions that are still due and unclaimed, in the given order. Leaves out those that an operator holds,
-- and those that failed and are in quarantine or wait for their next try, unless their row says otherwise since then.
SELECT execution.id, execution.uuid::text AS uuid, execution.ruta_directorio
FROM unnest(%(execution_ids)s::bigint[]) WITH ORDINALITY AS named (id, position)
JOIN ejecuciones_yaml AS execution ON execution.id = named.id
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = named.id
WHERE execution.migrado_a_nube IS NOT TRUE
  AND execution.ruta_directorio IS NOT NULL
  AND execution.fecha_ejecucion::timestamptz <= now() - make_interval(secs => %(retention_seconds)s)
  AND (
        migration.lease_expires_at IS NULL
        OR migration.lease_expires_at < now()
        OR (migration.host = %(host)s AND migration.run_id <> %(run_id)s)
    )
  AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = execution.id)
  AND (
        (migration.quarantined_at IS NULL AND coalesce(migration.next_try_at <= now(), true))
        OR migration.uuid <> execution.uuid::text
        OR migration.directory IS DISTINCT FROM execution.ruta_directorio
        OR migration.executed_at IS DISTINCT FROM execution.fecha_ejecucion::timestamptz
    )
ORDER BY named.position
