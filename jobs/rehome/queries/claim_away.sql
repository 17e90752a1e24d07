-- The claim of one copy, under the lease of this run: the row and its migration are as they were read, and this run still
-- has the job. An empty host says that no lock of the migration stands for the claim, so no run of that takes it over on
-- this host. An earlier run of this job on this host is dead, as this one holds the lock of the job here.
UPDATE janitor_migrations AS migration
SET host = '',
    run_id = current.run_id,
    fencing_token = migration.fencing_token + 1,
    last_held_at = coalesce(
        migration.lease_expires_at - make_interval(secs => %(lease_seconds)s), migration.last_held_at
    ),
    lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
FROM ejecuciones_yaml AS execution
CROSS JOIN janitor_jobs AS current
WHERE migration.execution_id = %(execution_id)s
  AND execution.id = migration.execution_id
  AND migration.state = 'migrated'
  AND migration.local_copy <> 'deleting'
  AND migration.provider_id = %(old_provider_id)s
  AND migration.uri = %(old_uri)s
  AND migration.manifest_sha256 = %(manifest_sha256)s
  AND (
        migration.lease_expires_at IS NULL
        OR migration.lease_expires_at < now()
        OR EXISTS (
            SELECT FROM janitor_runs AS run
            WHERE migration.host = '' AND run.id = migration.run_id AND run.host = %(own_host)s AND run.id <> current.run_id
        )
    )
  AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = migration.execution_id)
  AND execution.migrado_a_nube
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
  AND current.job = %(job)s
  AND current.host = ''
  AND current.fencing_token = %(fencing_token)s
  AND current.lease_expires_at > now()
RETURNING migration.fencing_token AS execution_token
