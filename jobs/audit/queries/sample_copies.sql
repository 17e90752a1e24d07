-- Some copies at random, at one provider or at all.
SELECT execution.id AS execution_id
FROM ejecuciones_yaml AS execution
WHERE execution.migrado_a_nube
  AND execution.ruta_nube IS NOT NULL
  AND execution.nube_provider_id IS NOT NULL
  AND (%(provider_id)s::integer IS NULL OR execution.nube_provider_id = %(provider_id)s)
ORDER BY random()
LIMIT %(sample_size)s
