SELECT migration.execution_id, migration.uuid, migration.directory
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE migration.local_copy = 'deleting' AND migration.host = %(host)s AND execution.migrado_a_nube
ORDER BY migration.execution_id
