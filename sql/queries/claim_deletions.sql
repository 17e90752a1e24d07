-- Local copies whose removal a dead run began, or that stopped for a reason the operator has to see. After the first
-- three tries there is a pause of 6, 12, 24, then always 48 hours. It is counted here, so that it also follows a
-- removal that ends the run each time. Copies that this run holds are being removed by it right now.
UPDATE janitor_migrations AS migration
SET host = %(host)s,
    run_id = %(run_id)s,
    fencing_token = migration.fencing_token + 1,
    lease_expires_at = now() + make_interval(secs => %(lease_seconds)s),
    deletion_tries = migration.deletion_tries + 1,
    deletion_next_at = CASE
        WHEN migration.deletion_tries < 3 THEN NULL
        ELSE now() + interval '6 hours' * power(2, least(migration.deletion_tries - 3, 3))
    END
FROM ejecuciones_yaml AS execution
WHERE migration.execution_id = ANY(%(execution_ids)s)
  AND execution.id = migration.execution_id
  AND execution.migrado_a_nube
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_directorio = migration.directory
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
  AND migration.state = 'migrated'
  AND migration.local_copy = 'deleting'
  AND migration.host = %(host)s
  AND (migration.lease_expires_at IS NULL OR migration.run_id <> %(run_id)s)
RETURNING
    migration.execution_id, migration.uuid, migration.directory, migration.fencing_token, migration.provider_id,
    migration.uri, migration.manifest_sha256, migration.listing_digest, coalesce(migration.file_count, 0) AS file_count,
    CASE WHEN migration.deletion_token >= (
        SELECT max(attempt.fencing_token)
        FROM janitor_attempts AS attempt
        WHERE attempt.execution_id = migration.execution_id AND attempt.state = 'committed'
    ) THEN migration.set_aside_inode END AS set_aside_inode,
    CASE WHEN migration.deletion_token >= (
        SELECT max(attempt.fencing_token)
        FROM janitor_attempts AS attempt
        WHERE attempt.execution_id = migration.execution_id AND attempt.state = 'committed'
    ) THEN migration.emptied_in END AS emptied_in
