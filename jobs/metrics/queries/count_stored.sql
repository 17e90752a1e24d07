-- Rows that another program marked as migrated have no record here, and no size.
SET LOCAL statement_timeout = '20s';
WITH stored AS (
    SELECT nube_provider_id AS provider_id, count(*) AS executions
    FROM ejecuciones_yaml
    WHERE migrado_a_nube
    GROUP BY nube_provider_id
),
recorded AS (
    SELECT
        provider_id,
        sum(size_bytes)::bigint AS bytes,
        count(*) FILTER (WHERE local_copy = 'deleting') AS deletions_unfinished
    FROM janitor_migrations
    WHERE state = 'migrated'
    GROUP BY provider_id
)
SELECT
    stored.provider_id,
    coalesce(provider.nombre, '') AS provider,
    stored.executions,
    coalesce(recorded.bytes, 0) AS bytes,
    coalesce(recorded.deletions_unfinished, 0) AS deletions_unfinished
FROM stored
LEFT JOIN recorded ON recorded.provider_id IS NOT DISTINCT FROM stored.provider_id
LEFT JOIN cloud_providers AS provider ON provider.id = stored.provider_id
