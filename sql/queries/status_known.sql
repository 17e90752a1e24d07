-- What is read of a very large table whose pending executions no run has listed lately: the last id but a number of them,
-- the executions up to it of which the program knows that something keeps them waiting, and, of the other ones up to it,
-- the share in percent that makes a sample of so many pages.
WITH bound AS (
    SELECT
        greatest(coalesce(max(id), 0) - %(rows_read)s, 0) AS after_id,
        least(100, 100 * %(sampled_pages)s * current_setting('block_size')::numeric
            / greatest(pg_relation_size('ejecuciones_yaml'), 1)) AS sampled_percent
    FROM ejecuciones_yaml
),
known AS (
    SELECT execution_id FROM janitor_migrations WHERE state IN ('failed', 'refused')
    UNION
    SELECT execution_id FROM janitor_migrations WHERE lease_expires_at IS NOT NULL
    UNION
    SELECT execution_id FROM janitor_holds
    LIMIT %(look_size)s
)
SELECT
    bound.after_id,
    bound.sampled_percent::double precision AS sampled_percent,
    (SELECT coalesce(array_agg(execution_id), '{}') FROM known WHERE execution_id <= bound.after_id)::text
        AS execution_ids
FROM bound
