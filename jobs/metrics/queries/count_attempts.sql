-- The attempts of this host that ended since the last look, each counted once: those begun since, and those that were
-- open then. The first look begins with the attempts of the last run.
WITH first AS (
    SELECT coalesce(
        %(next_id)s::bigint,
        (
            SELECT min(attempt.id)
            FROM janitor_attempts AS attempt
            WHERE attempt.id > coalesce(
                (
                    SELECT older.id
                    FROM janitor_attempts AS older
                    WHERE older.started_at < now() - make_interval(secs => %(run_seconds)s)
                    ORDER BY older.id DESC
                    LIMIT 1
                ),
                0
            )
        )
    ) AS id
),
seen AS (
    SELECT id, execution_id, provider_id, state, error_code, started_at, finished_at
    FROM janitor_attempts
    WHERE host = %(host)s
      AND (
            -- With both bounds the planner expects few rows, and reads them by the index.
            id BETWEEN (SELECT id FROM first) AND (SELECT max(id) FROM janitor_attempts)
            OR id = ANY(%(open_ids)s::bigint[])
        )
),
ended AS (
    SELECT
        provider_id,
        CASE
            WHEN state = 'committed' OR error_code = 'rehomed' THEN 'migrated'
            WHEN error_code = 'interrupted' THEN 'interrupted'
            ELSE 'failed'
        END AS outcome,
        execution_id,
        CASE WHEN state = 'committed' THEN extract(epoch FROM finished_at - started_at) END AS seconds
    FROM seen
    WHERE state <> 'open'
),
counted AS (
    SELECT
        ended.provider_id,
        coalesce(provider.nombre, '') AS provider,
        ended.outcome,
        count(*) AS executions,
        coalesce(sum(migration.size_bytes), 0)::bigint AS bytes,
        coalesce(sum(ended.seconds), 0)::double precision AS seconds
    FROM ended
    LEFT JOIN janitor_migrations AS migration ON migration.execution_id = ended.execution_id
    LEFT JOIN cloud_providers AS provider ON provider.id = ended.provider_id
    GROUP BY ended.provider_id, provider.nombre, ended.outcome
)
SELECT
    (SELECT coalesce(max(id), 0) + 1 FROM janitor_attempts)::bigint AS next_id,
    (SELECT coalesce(array_agg(id), '{}') FROM seen WHERE state = 'open') AS open_ids,
    (SELECT coalesce(json_agg(counted), '[]') FROM counted)::text AS counted
