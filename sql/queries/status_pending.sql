-- Executions still to be migrated, by what keeps each of them waiting, each counted once; and the oldest ones that are
-- due, a row each (`kind` is NULL). They are read from the platform's table, or they are those of a list that are still
-- pending, all rows that were added after it, and a sample of the pages of earlier ones, in which each row stands for
-- several. What was judged is kept for both answers: of a whole table without its texts, which are then read once more
-- for the oldest. Most of them have no record of the program's: those few that keep one waiting have small indexes,
-- and LIMIT has each of them looked up there, whatever the planner believes after an outage.
WITH pending AS (
    SELECT
        id, uuid::text AS uuid, ruta_directorio, fecha_ejecucion::timestamptz AS executed_at,
        1::double precision AS weight
    FROM ejecuciones_yaml
    WHERE %(is_scanned)s AND migrado_a_nube IS NOT TRUE
    UNION ALL
    SELECT execution.id, execution.uuid::text, execution.ruta_directorio, execution.fecha_ejecucion::timestamptz, 1
    FROM unnest(%(execution_ids)s::bigint[]) AS known (id)
    JOIN ejecuciones_yaml AS execution ON execution.id = known.id
    WHERE NOT %(is_scanned)s AND execution.migrado_a_nube IS NOT TRUE
    UNION ALL
    SELECT id, uuid::text, ruta_directorio, fecha_ejecucion::timestamptz, 1
    FROM ejecuciones_yaml
    WHERE NOT %(is_scanned)s AND id > %(after_id)s AND migrado_a_nube IS NOT TRUE
    UNION ALL
    SELECT id, uuid::text, ruta_directorio, fecha_ejecucion::timestamptz, 100 / nullif(%(sampled_percent)s::double precision, 0)
    FROM ejecuciones_yaml TABLESAMPLE SYSTEM (%(sampled_percent)s)
    WHERE %(sampled_percent)s > 0
      AND id <= %(after_id)s
      AND NOT id = ANY(%(execution_ids)s::bigint[])
      AND migrado_a_nube IS NOT TRUE
),
judged AS (
    SELECT
        pending.id,
        CASE WHEN NOT %(is_scanned)s THEN pending.uuid END AS uuid,
        CASE WHEN NOT %(is_scanned)s THEN pending.ruta_directorio END AS directory,
        pending.executed_at,
        pending.weight,
        CASE
            WHEN pending.ruta_directorio IS NULL THEN 'without_directory'
            WHEN pending.id IN (
                SELECT execution_id FROM janitor_migrations WHERE state = 'migrating' AND lease_expires_at > now()
            ) THEN 'under_way'
            WHEN EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = pending.id) THEN 'held'
            WHEN put_off.quarantined_at IS NOT NULL AND described.is_unchanged THEN 'quarantined'
            WHEN pending.executed_at IS NULL THEN 'without_date'
            WHEN pending.executed_at > now() - make_interval(secs => %(retention_seconds)s) THEN 'not_due'
            WHEN failed.state = 'refused' THEN 'refused'
            WHEN put_off.next_try_at > now() AND described.is_unchanged THEN 'put_off'
            ELSE 'due'
        END AS kind,
        failed.state IS NOT NULL AND failed.error_code IS DISTINCT FROM 'interrupted' AS is_failed
    FROM pending
    LEFT JOIN LATERAL (
        SELECT state, error_code
        FROM janitor_migrations
        WHERE execution_id = pending.id AND state IN ('failed', 'refused')
        LIMIT 1
    ) AS failed ON true
    LEFT JOIN LATERAL (
        SELECT uuid, directory, executed_at, quarantined_at, next_try_at
        FROM janitor_migrations
        WHERE execution_id = pending.id AND (next_try_at IS NOT NULL OR quarantined_at IS NOT NULL)
        LIMIT 1
    ) AS put_off ON true
    CROSS JOIN LATERAL (
        SELECT
            put_off.uuid = pending.uuid
            AND put_off.directory IS NOT DISTINCT FROM pending.ruta_directorio
            AND put_off.executed_at IS NOT DISTINCT FROM pending.executed_at AS is_unchanged
    ) AS described
),
counted AS (
    SELECT
        kind,
        sum(weight) AS count,
        coalesce(sum(weight) FILTER (WHERE is_failed), 0) AS failed,
        coalesce(sum(weight) FILTER (WHERE executed_at <= now() - make_interval(secs => %(retention_seconds)s)), 0)
            AS old_enough,
        coalesce(sum(weight) FILTER (WHERE executed_at > now() - interval '1 day'), 0) AS up_to_a_day,
        coalesce(sum(weight) FILTER (
            WHERE executed_at <= now() - interval '1 day' AND executed_at > now() - interval '7 days'
        ), 0) AS up_to_a_week,
        coalesce(sum(weight) FILTER (
            WHERE executed_at <= now() - interval '7 days' AND executed_at > now() - interval '30 days'
        ), 0) AS up_to_a_month,
        coalesce(sum(weight) FILTER (WHERE executed_at <= now() - interval '30 days'), 0) AS older
    FROM judged
    GROUP BY kind
),
oldest AS (
    SELECT id, uuid, directory, executed_at FROM judged WHERE kind = 'due' ORDER BY executed_at, id LIMIT %(page_size)s
)
SELECT
    counted.*, NULL::bigint AS id, NULL::text AS uuid, NULL::text AS directory, NULL::timestamptz AS executed_at
FROM counted
UNION ALL
SELECT
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    oldest.id, coalesce(oldest.uuid, execution.uuid::text), coalesce(oldest.directory, execution.ruta_directorio),
    greatest(oldest.executed_at, '1900-01-01'::timestamptz) -- which Python can hold
FROM oldest
LEFT JOIN ejecuciones_yaml AS execution ON %(is_scanned)s AND execution.id = oldest.id
ORDER BY kind, executed_at, id
