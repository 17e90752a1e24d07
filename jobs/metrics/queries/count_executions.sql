-- What waits, in numbers. An execution stopped without a fault (interrupted) is pending, not failed. A large table is not
-- read for this where a run has looked through it lately: there, the executions that the look has found, as far as they
-- are still pending, and all rows that were added since. Rows without a directory, which a look leaves out, are then not
-- counted. Each branch names its own table, so that the one that is not asked reads nothing.
SET LOCAL statement_timeout = '20s';
WITH look AS (
    SELECT execution_ids, last_table_id
    FROM janitor_looks
    WHERE last_table_id IS NOT NULL
      AND looked_at > now() - interval '2 days'
      AND pg_relation_size('ejecuciones_yaml') >= %(large_table_bytes)s
),
waiting AS (
    SELECT ruta_directorio IS NOT NULL AS has_directory, fecha_ejecucion::timestamptz AS executed_at
    FROM ejecuciones_yaml
    WHERE NOT EXISTS (SELECT FROM look) AND migrado_a_nube IS NOT TRUE
    UNION ALL
    SELECT execution.ruta_directorio IS NOT NULL, execution.fecha_ejecucion::timestamptz
    FROM (SELECT unnest(execution_ids) AS id FROM look) AS known
    JOIN ejecuciones_yaml AS execution ON execution.id = known.id
    WHERE execution.migrado_a_nube IS NOT TRUE
    UNION ALL
    SELECT ruta_directorio IS NOT NULL, fecha_ejecucion::timestamptz
    FROM ejecuciones_yaml
    WHERE id > (SELECT last_table_id FROM look) AND migrado_a_nube IS NOT TRUE
),
failed AS (
    SELECT count(*) AS count, count(*) FILTER (WHERE migration.quarantined_at IS NOT NULL) AS quarantined
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.state IN ('failed', 'refused')
      AND migration.error_code IS DISTINCT FROM 'interrupted'
      AND execution.migrado_a_nube IS NOT TRUE
      AND execution.ruta_directorio IS NOT NULL
)
SELECT
    count(*) FILTER (WHERE has_directory) AS pending,
    CASE WHEN NOT EXISTS (SELECT FROM look) THEN count(*) FILTER (WHERE NOT has_directory) END AS without_directory,
    count(*) FILTER (
        WHERE has_directory AND executed_at <= now() - make_interval(secs => %(retention_seconds)s)
    ) AS due,
    extract(epoch FROM min(executed_at) FILTER (
        WHERE has_directory AND executed_at <= now() - make_interval(secs => %(retention_seconds)s)
    ))::double precision AS oldest_due,
    (SELECT count FROM failed) AS failed,
    (SELECT quarantined FROM failed) AS quarantined,
    (SELECT count(*) FROM janitor_holds) AS held,
    extract(epoch FROM now())::double precision AS now
FROM waiting
