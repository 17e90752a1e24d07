-- Polled while an execution is migrated: a process may be stopped so long that another run takes over.
SELECT extract(epoch FROM migration.lease_expires_at - now()) AS seconds_left
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE migration.execution_id = %(execution_id)s
  AND migration.fencing_token = %(fencing_token)s
  AND migration.lease_expires_at IS NOT NULL
  AND migration.state = 'migrating'
  AND execution.migrado_a_nube IS NOT TRUE
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_directorio IS NOT DISTINCT FROM migration.directory
  AND execution.fecha_ejecucion::timestamptz IS NOT DISTINCT FROM migration.executed_at
