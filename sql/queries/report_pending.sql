-- What waits, in numbers. A large table is not read for this where a run has looked through it lately: there, the
-- executions that the look has found, as far as they are still pending, and all rows that were added since. Each branch
-- names its own table, so that the one that is not asked reads nothing.
WITH look AS (
    SELECT execution_ids, last_table_id
    FROM janitor_looks
    WHERE last_table_id IS NOT NULL
      AND looked_at > now() - interval '2 days'
      AND pg_relation_size('ejecuciones_yaml') >= %(large_table_bytes)s
),
pending AS (
    SELECT fecha_ejecucion::timestamptz AS executed_at
    FROM ejecuciones_yaml
    WHERE NOT EXISTS (SELECT FROM look) AND migrado_a_nube IS NOT TRUE AND ruta_directorio IS NOT NULL
    UNION ALL
    SELECT execution.fecha_ejecucion::timestamptz
    FROM (SELECT unnest(execution_ids) AS id FROM look) AS known
    JOIN ejecuciones_yaml AS execution ON execution.id = known.id
    WHERE execution.migrado_a_nube IS NOT TRUE AND execution.ruta_directorio IS NOT NULL
    UNION ALL
    SELECT fecha_ejecucion::timestamptz
    FROM ejecuciones_yaml
    WHERE id > (SELECT last_table_id FROM look) AND migrado_a_nube IS NOT TRUE AND ruta_directorio IS NOT NULL
),
failed AS (
    SELECT count(*) AS count
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.state IN ('failed', 'refused')
      AND migration.quarantined_at IS NOT NULL
      AND migration.error_code IS DISTINCT FROM 'interrupted'
      AND execution.migrado_a_nube IS NOT TRUE
      AND execution.ruta_directorio IS NOT NULL
)
SELECT
    count(*) AS pending,
    count(*) FILTER (WHERE executed_at <= now() - make_interval(secs => %(retention_seconds)s)) AS due,
    extract(epoch FROM min(executed_at) FILTER (
        WHERE executed_at <= now() - make_interval(secs => %(retention_seconds)s)
    ))::double precision AS oldest_due,
    (SELECT count FROM failed) AS quarantined,
    extract(epoch FROM now())::double precision AS now
FROM pending
