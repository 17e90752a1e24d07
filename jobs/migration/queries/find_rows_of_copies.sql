-- The rows of these uuids, whatever their state, and those that say that their copy is at one of these places.
SELECT id, uuid::text AS uuid, migrado_a_nube IS TRUE AS migrated, ruta_nube AS uri, nube_provider_id AS provider_id
FROM ejecuciones_yaml
WHERE uuid::text = ANY(%(uuids)s)
UNION
SELECT id, uuid::text, migrado_a_nube IS TRUE, ruta_nube, nube_provider_id
FROM ejecuciones_yaml
WHERE ruta_nube = ANY(%(uris)s)
ORDER BY id
