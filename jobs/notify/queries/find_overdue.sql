-- The oldest executions that have been due for the given number of days. A large table is not read for this: there,
-- those of the last look that are still to be migrated.
WITH limits AS (
    SELECT now() - make_interval(secs => %(retention_seconds)s) - make_interval(days => %(days)s) AS executed_before,
           pg_relation_size('ejecuciones_yaml') >= %(large_table_bytes)s AS is_large
), candidates AS (
    SELECT id FROM ejecuciones_yaml
    WHERE NOT (SELECT is_large FROM limits)
    UNION ALL
    SELECT unnest(execution_ids[:1000]) FROM janitor_looks
    WHERE (SELECT is_large FROM limits)
)
SELECT execution.uuid::text AS uuid, execution.ruta_directorio AS directory, execution.fecha_ejecucion::timestamptz AS executed_at
FROM candidates
JOIN ejecuciones_yaml AS execution ON execution.id = candidates.id
WHERE execution.migrado_a_nube IS NOT TRUE
  AND execution.ruta_directorio IS NOT NULL
  AND execution.fecha_ejecucion::timestamptz < (SELECT executed_before FROM limits)
ORDER BY execution.fecha_ejecucion, execution.id
LIMIT 500
