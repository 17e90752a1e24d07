-- An operator asks that a lost or damaged copy be made again from the local directory, which is still there. Only if row
-- and migration say the same as when the copy was found to be so, and nobody works on it. One that was removed may have
-- been restored there. A removal that was begun asks before each step, and ends with the row's change.
WITH taken_back AS (
    UPDATE ejecuciones_yaml AS execution
    SET migrado_a_nube = false
    FROM janitor_migrations AS migration
    WHERE execution.id = %(execution_id)s
      AND migration.execution_id = execution.id
      AND execution.migrado_a_nube
      AND execution.uuid::text = %(uuid)s
      AND execution.ruta_directorio = %(directory)s
      AND execution.ruta_nube = %(uri)s
      AND execution.nube_provider_id = %(provider_id)s
      AND migration.uri = execution.ruta_nube
      AND migration.provider_id = execution.nube_provider_id
      AND migration.state = 'migrated'
      AND (migration.lease_expires_at IS NULL OR migration.lease_expires_at < now())
      AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = execution.id)
    RETURNING execution.id, execution.ruta_nube
),
noted AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, os_user, command, details)
    SELECT
        'migrated_again', id, %(uuid)s, %(host)s, %(os_user)s, %(command)s,
        jsonb_build_object('uri', ruta_nube, 'provider_id', %(provider_id)s::integer, 'detail', %(detail)s::text)
    FROM taken_back
)
SELECT id FROM taken_back
