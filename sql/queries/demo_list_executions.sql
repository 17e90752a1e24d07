SELECT uuid::text AS uuid, migrado_a_nube, ruta_nube, nube_provider_id
FROM ejecuciones_yaml
ORDER BY id
