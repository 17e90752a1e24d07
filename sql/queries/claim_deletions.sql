-- Local copies whose removal was begun by a run that is dead, or that was stopped by something the operator has to see.
UPDATE janitor_migrations AS migration
SET host = %(host)s,
    run_id = %(run_id)s,
    fencing_token = migration.fencing_token + 1,
    lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
FROM ejecuciones_yaml AS execution
WHERE execution.id = migration.execution_id
  AND execution.migrado_a_nube
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
  AND migration.state = 'migrated'
  AND migration.local_copy = 'deleting'
  AND migration.host = %(host)s
RETURNING
    migration.execution_id, migration.uuid, migration.directory, migration.fencing_token, migration.provider_id,
    migration.uri, migration.manifest_sha256
