SELECT execution.id, execution.uuid::text AS uuid, execution.migrado_a_nube, execution.ruta_nube,
       execution.nube_provider_id, execution.ruta_directorio IS NOT NULL AS has_directory, migration.manifest_sha256
FROM ejecuciones_yaml AS execution
LEFT JOIN janitor_migrations AS migration
    ON migration.execution_id = execution.id AND migration.uri = execution.ruta_nube
WHERE execution.uuid::text = %(uuid)s
ORDER BY execution.migrado_a_nube IS TRUE DESC, execution.id DESC
