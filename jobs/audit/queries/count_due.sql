-- How much has not been read back for the given number of days: the arrears of the rolling audit.
SELECT count(*) AS executions, coalesce(sum(migration.size_bytes), 0)::bigint AS size_bytes
FROM janitor_migrations AS migration
LEFT JOIN janitor_audits AS audit
    ON audit.execution_id = migration.execution_id
    AND audit.uri = migration.uri
    AND audit.provider_id = migration.provider_id
WHERE migration.state = 'migrated'
  AND (audit.audited_at IS NULL OR audit.audited_at < now() - make_interval(days => %(days)s))
