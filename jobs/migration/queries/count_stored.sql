-- How many executions `list_stored` gives in all.
SELECT count(*) AS count
FROM ejecuciones_yaml AS execution
WHERE execution.migrado_a_nube
  AND (%(provider_id)s::bigint IS NULL OR execution.nube_provider_id = %(provider_id)s)
  AND (%(since)s::timestamptz IS NULL OR execution.fecha_ejecucion::timestamptz >= %(since)s)
  AND (%(before)s::timestamptz IS NULL OR execution.fecha_ejecucion::timestamptz < %(before)s)
