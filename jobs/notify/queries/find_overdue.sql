-- The oldest executions that have been due for the given number of days. A large table is not read for this: there,
-- those of the last look that are still to be migrated, found by their ids. What a run is working on is left out. Each branch names its own table, so that
-- the one that is not asked reads nothing.
WITH limits AS (
    SELECT now() - make_interval(secs => %(retention_seconds)s) - make_interval(days => %(days)s) AS executed_before,
           pg_relation_size('ejecuciones_yaml') >= %(large_table_bytes)s AS is_large
), waiting AS (
    SELECT id, uuid, ruta_directorio, fecha_ejecucion
    FROM ejecuciones_yaml
    WHERE NOT (SELECT is_large FROM limits)
      AND migrado_a_nube IS NOT TRUE
      AND ruta_directorio IS NOT NULL
      AND fecha_ejecucion::timestamptz < (SELECT executed_before FROM limits)
    UNION ALL
    SELECT execution.id, execution.uuid, execution.ruta_directorio, execution.fecha_ejecucion
    FROM (
        SELECT unnest(execution_ids[:1000]) AS id FROM janitor_looks WHERE (SELECT is_large FROM limits)
    ) AS known
    JOIN ejecuciones_yaml AS execution ON execution.id = known.id
    WHERE execution.migrado_a_nube IS NOT TRUE
      AND execution.ruta_directorio IS NOT NULL
      AND execution.fecha_ejecucion::timestamptz < (SELECT executed_before FROM limits)
)
SELECT uuid::text AS uuid, ruta_directorio AS directory, fecha_ejecucion::timestamptz AS executed_at
FROM waiting
WHERE NOT EXISTS (
    SELECT FROM janitor_migrations AS migration
    WHERE migration.execution_id = waiting.id AND migration.lease_expires_at > now()
)
ORDER BY fecha_ejecucion, id
LIMIT 500
