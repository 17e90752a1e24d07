-- What was sent, by day, provider and end. Attempts that a later one at the same place took over are no failures. No index
-- tells when attempts ended: they are read from the first one on that began in these days or the week before. With both
-- bounds the planner expects few rows, and reads them by the index. Sizes are in another table: where very many were
-- migrated on one day, those of a part of them at random stand for all (`is_estimated`).
WITH earlier AS (
    SELECT coalesce(
        (
            SELECT id
            FROM janitor_attempts
            WHERE started_at < now() - make_interval(days => %(days)s + 7)
            ORDER BY id DESC
            LIMIT 1
        ),
        0
    ) AS id
),
ended AS MATERIALIZED (
    SELECT
        attempt.id,
        attempt.execution_id,
        (attempt.finished_at AT TIME ZONE %(zone)s)::date AS day,
        attempt.provider_id,
        attempt.state = 'committed' AS is_migrated,
        attempt.finished_at - attempt.started_at AS took
    FROM janitor_attempts AS attempt
    WHERE attempt.id BETWEEN (SELECT id FROM earlier) AND (SELECT max(id) FROM janitor_attempts)
      AND attempt.finished_at >= now() - make_interval(days => %(days)s)
      AND (attempt.state = 'committed' OR attempt.error_code <> 'interrupted')
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
    counted.day::text AS day,
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
