-- Why an execution is not migrated, as its last attempt says.
SELECT migration.error
FROM janitor_migrations AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE migration.uuid = %(uuid)s
  AND migration.state IN ('failed', 'refused')
  AND migration.error <> ''
  AND execution.migrado_a_nube IS NOT TRUE
ORDER BY migration.execution_id
LIMIT 1
