-- Polled while a copy is moved: how long the claim is still this run's; no row once it is not, or the row has changed.
SELECT extract(epoch FROM migration.lease_expires_at - now()) AS seconds_left
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE migration.execution_id = %(execution_id)s
  AND migration.fencing_token = %(execution_token)s
  AND migration.lease_expires_at IS NOT NULL
  AND migration.state = 'migrated'
  AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = migration.execution_id)
  AND execution.migrado_a_nube
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
