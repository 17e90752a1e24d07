-- What each provider holds. Rows that another program marked as migrated have no record here, and no size. Of large
-- tables only a sample is read: then all numbers are estimates.
SET LOCAL statement_timeout = '20s';
WITH share AS (
    SELECT CASE
        WHEN pg_relation_size(oid) < %(large_table_bytes)s OR reltuples <= %(sampled_rows)s THEN 100
        ELSE 100 * %(sampled_rows)s / reltuples
    END AS percent
    FROM pg_class
    WHERE oid = 'ejecuciones_yaml'::regclass
),
stored AS (
    SELECT nube_provider_id AS provider_id, round(count(*) * 100 / (SELECT percent FROM share))::bigint AS executions
    FROM ejecuciones_yaml TABLESAMPLE SYSTEM ((SELECT percent FROM share))
    WHERE migrado_a_nube
    GROUP BY nube_provider_id
),
recorded AS (
    SELECT provider_id, round(sum(size_bytes) * 100 / (SELECT percent FROM share)::numeric)::bigint AS bytes
    FROM janitor_migrations TABLESAMPLE SYSTEM ((SELECT percent FROM share))
    WHERE state = 'migrated'
    GROUP BY provider_id
),
unfinished AS (
    SELECT provider_id, count(*) AS deletions
    FROM janitor_migrations
    WHERE local_copy = 'deleting' AND state = 'migrated'
    GROUP BY provider_id
)
SELECT
    stored.provider_id,
    coalesce(provider.nombre, '') AS provider,
    stored.executions,
    coalesce(recorded.bytes, 0) AS bytes,
    coalesce(unfinished.deletions, 0) AS deletions_unfinished,
    (SELECT percent < 100 FROM share) AS is_estimated
FROM stored
LEFT JOIN recorded ON recorded.provider_id IS NOT DISTINCT FROM stored.provider_id
LEFT JOIN unfinished ON unfinished.provider_id IS NOT DISTINCT FROM stored.provider_id
LEFT JOIN cloud_providers AS provider ON provider.id = stored.provider_id
