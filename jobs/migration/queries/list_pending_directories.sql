-- A page of the directories of rows that are not migrated, in the order of their ids.
SELECT id, uuid::text AS uuid, ruta_directorio AS directory
FROM ejecuciones_yaml
WHERE migrado_a_nube IS NOT TRUE
  AND ruta_directorio IS NOT NULL
  AND id > %(after_id)s
ORDER BY id
LIMIT %(page_size)s
