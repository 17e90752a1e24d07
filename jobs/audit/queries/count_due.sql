-- How much has not been read back for the given number of days: the arrears of the rolling audit. Of a large table only
-- a sample is read: then both numbers are estimates, and `is_exact` says so.
WITH share AS (
    SELECT CASE
        WHEN pg_relation_size(oid) < %(large_table_bytes)s OR reltuples <= %(sampled_rows)s THEN 100
        ELSE 100 * %(sampled_rows)s / reltuples
    END AS percent
    FROM pg_class
    WHERE oid = 'janitor_migrations'::regclass
)
SELECT
    round(count(*) * 100 / (SELECT percent FROM share))::bigint AS executions,
    round(coalesce(sum(migration.size_bytes), 0) * 100 / (SELECT percent FROM share)::numeric)::bigint AS size_bytes,
    (SELECT percent FROM share) = 100 AS is_exact
FROM janitor_migrations AS migration TABLESAMPLE SYSTEM ((SELECT percent FROM share))
LEFT JOIN janitor_audits AS audit
    ON audit.execution_id = migration.execution_id
    AND audit.uri = migration.uri
    AND audit.provider_id = migration.provider_id
WHERE migration.state = 'migrated'
  AND (audit.audited_at IS NULL OR audit.audited_at < now() - make_interval(days => %(days)s))
