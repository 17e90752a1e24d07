SELECT
    execution.nube_provider_id AS provider_id,
    provider.nombre AS name,
    provider.tipo AS kind,
    count(*) AS migrated,
    coalesce(sum(migration.file_count), 0)::bigint AS file_count,
    coalesce(sum(migration.size_bytes), 0)::bigint AS size_bytes
FROM ejecuciones_yaml AS execution
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
LEFT JOIN cloud_providers AS provider ON provider.id = execution.nube_provider_id
WHERE execution.migrado_a_nube
GROUP BY execution.nube_provider_id, provider.nombre, provider.tipo
ORDER BY execution.nube_provider_id
