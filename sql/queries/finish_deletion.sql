-- Only while the row still points at the proven copy and at this directory. It may be sent twice if the connection
-- breaks: the second statement then finds what the first has done.
WITH finished AS (
    UPDATE janitor_migrations AS migration
    SET local_copy = 'deleted', deleted_at = now(), lease_expires_at = NULL, error_code = NULL, error = NULL,
        deletion_tries = 0, deletion_next_at = NULL, deletion_token = NULL, set_aside_inode = NULL, emptied_in = NULL
    FROM ejecuciones_yaml AS execution
    WHERE migration.execution_id = %(execution_id)s
      AND migration.fencing_token = %(fencing_token)s
      AND migration.state = 'migrated'
      AND migration.local_copy = 'deleting'
      AND execution.id = migration.execution_id
      AND execution.migrado_a_nube
      AND execution.uuid::text = migration.uuid
      AND execution.ruta_directorio = migration.directory
      AND execution.ruta_nube = migration.uri
      AND execution.nube_provider_id = migration.provider_id
    RETURNING migration.execution_id, migration.uuid, migration.directory
),
audited AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, details)
    SELECT 'local_copy_deleted', execution_id, uuid, %(host)s, jsonb_build_object('directory', directory)
    FROM finished
)
SELECT
    EXISTS (SELECT FROM finished)
    OR EXISTS (
        SELECT FROM janitor_migrations
        WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleted'
    ) AS is_finished
