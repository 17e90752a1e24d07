-- What was sent, by day, provider and end. Attempts that a later one at the same place took over are no failures, nor are
-- those whose copy was brought to another provider since: there it is counted. No index
-- tells when attempts ended: they are read from the first one on that began in these days or the week before, which is
-- found by halving, as they begin in the order of their ids. With both bounds the planner expects few rows, and reads
-- them by the index. Sizes are in another table: where very many were
-- migrated on one day, those of a part of them at random stand for all (`is_estimated`).
WITH RECURSIVE halves (first_id, last_id) AS (
    SELECT 0::bigint, (SELECT coalesce(max(id), 0) FROM janitor_attempts)
    UNION ALL
    SELECT
        CASE WHEN probe.is_earlier THEN halves.middle ELSE halves.first_id END,
        CASE WHEN probe.is_earlier THEN halves.last_id ELSE halves.middle END
    FROM (
        SELECT first_id, last_id, (first_id + last_id) / 2 AS middle FROM halves WHERE last_id - first_id > 1
    ) AS halves
    CROSS JOIN LATERAL (
        SELECT coalesce(
            (
                SELECT started_at < now() - make_interval(days => %(days)s + 7)
                FROM janitor_attempts
                WHERE id <= halves.middle
                ORDER BY id DESC
                LIMIT 1
            ),
            true
        ) AS is_earlier
    ) AS probe
),
earlier AS (
    SELECT max(first_id) AS id FROM halves
),
days AS (
    -- A date for each row would take most of the time.
    SELECT
        (now() AT TIME ZONE %(zone)s)::date - %(days)s - 1 AS before,
        ARRAY(
            SELECT ((now() AT TIME ZONE %(zone)s)::date - back)::timestamp AT TIME ZONE %(zone)s
            FROM generate_series(%(days)s, 0, -1) AS back
        ) AS starts
),
ended AS MATERIALIZED (
    SELECT
        attempt.id,
        attempt.execution_id,
        width_bucket(attempt.finished_at, (SELECT starts FROM days)) AS day,
        attempt.provider_id,
        attempt.state = 'committed' AS is_migrated,
        attempt.finished_at - attempt.started_at AS took
    FROM janitor_attempts AS attempt
    WHERE attempt.id BETWEEN (SELECT id FROM earlier) AND (SELECT max(id) FROM janitor_attempts)
      AND attempt.finished_at >= now() - make_interval(days => %(days)s)
      AND (attempt.state = 'committed' OR attempt.error_code NOT IN ('interrupted', 'rehomed', 'orphan'))
),
counted AS (
    SELECT
        day, provider_id, is_migrated,
        count(*) AS executions,
        CASE WHEN is_migrated THEN extract(epoch FROM sum(took)) END AS seconds,
        CASE WHEN is_migrated THEN greatest(count(*) / %(sizes_read)s, 1) ELSE 0 END AS each_of
    FROM ended
    GROUP BY day, provider_id, is_migrated
),
sizes AS (
    SELECT ended.day, ended.provider_id, avg(coalesce(migration.size_bytes, 0)) AS size_bytes
    FROM ended
    JOIN counted
        ON counted.day = ended.day AND counted.provider_id = ended.provider_id AND counted.is_migrated AND ended.is_migrated
    LEFT JOIN janitor_migrations AS migration ON migration.execution_id = ended.execution_id
    WHERE counted.each_of = 1 OR (hashint8(ended.id) & 2147483647) %% counted.each_of = 0
    GROUP BY ended.day, ended.provider_id
)
SELECT
    ((SELECT before FROM days) + counted.day)::text AS day,
    counted.provider_id,
    coalesce(provider.nombre, '') AS provider,
    counted.is_migrated,
    counted.executions,
    round(coalesce(CASE WHEN counted.is_migrated THEN sizes.size_bytes * counted.executions END, 0))::bigint AS bytes,
    coalesce(counted.seconds, 0)::double precision AS seconds,
    counted.each_of > 1 AS is_estimated
FROM counted
LEFT JOIN sizes ON sizes.day = counted.day AND sizes.provider_id = counted.provider_id
LEFT JOIN cloud_providers AS provider ON provider.id = counted.provider_id
ORDER BY counted.day, counted.provider_id, counted.is_migrated
