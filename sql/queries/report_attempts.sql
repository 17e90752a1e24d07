-- What was sent, by day, provider and end. Attempts that a later one at the same place took over are no failures. No index
-- tells when attempts ended: they are read from the first one on that began in these days or the week before. With both
-- bounds the planner expects few rows, and reads them by the index.
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
)
SELECT
    (attempt.finished_at AT TIME ZONE %(zone)s)::date::text AS day,
    attempt.provider_id,
    coalesce(provider.nombre, '') AS provider,
    attempt.state = 'committed' AS is_migrated,
    count(*) AS executions,
    coalesce(sum(migration.size_bytes) FILTER (WHERE attempt.state = 'committed'), 0)::bigint AS bytes,
    coalesce(sum(extract(epoch FROM attempt.finished_at - attempt.started_at))
        FILTER (WHERE attempt.state = 'committed'), 0)::double precision AS seconds
FROM janitor_attempts AS attempt
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = attempt.execution_id
LEFT JOIN cloud_providers AS provider ON provider.id = attempt.provider_id
WHERE attempt.id BETWEEN (SELECT id FROM earlier) AND (SELECT max(id) FROM janitor_attempts)
  AND attempt.finished_at >= now() - make_interval(days => %(days)s)
  AND (attempt.state = 'committed' OR attempt.error_code <> 'interrupted')
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 4
