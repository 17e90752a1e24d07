-- Least-tried first, then oldest: a stuck removal never delays the others.
SELECT
    migration.execution_id, migration.uuid, migration.directory,
    coalesce(migration.deletion_next_at <= now(), true) AS is_due,
    EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = migration.execution_id) AS is_held
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE migration.local_copy = 'deleting'
  AND migration.state = 'migrated'
  AND migration.host = %(host)s
  AND execution.migrado_a_nube
  AND execution.uuid::text = migration.uuid
  AND execution.ruta_directorio = migration.directory
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
ORDER BY migration.deletion_tries, migration.migrated_at, migration.execution_id
