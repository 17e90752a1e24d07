-- Where bytes of failed attempts, or of copies brought to another provider, may lie, by provider and store: attempts that have looked at their place, so that they
-- may have sent something, and that nobody is working on. `refused` counts those whose removal was refused.
SELECT
    attempt.provider_id, attempt.store,
    count(*) AS count,
    count(*) FILTER (WHERE execution.migrado_a_nube IS NOT TRUE) AS to_be_reused,
    count(*) FILTER (WHERE attempt.removal_tries > 0) AS refused,
    count(*) FILTER (WHERE attempt.error_code = 'rehomed') AS moved,
    min(attempt.started_at) AS oldest_at,
    min(attempt.key_prefix) AS example
FROM janitor_attempts AS attempt
LEFT JOIN janitor_migrations AS migration
    ON migration.execution_id = attempt.execution_id AND migration.fencing_token = attempt.fencing_token
LEFT JOIN ejecuciones_yaml AS execution ON execution.id = attempt.execution_id
WHERE attempt.state IN ('open', 'abandoned')
  AND attempt.foreign_objects IS NOT NULL
  AND NOT (attempt.state = 'open' AND coalesce(migration.lease_expires_at > now(), false))
GROUP BY attempt.provider_id, attempt.store
ORDER BY count(*) DESC, attempt.provider_id, attempt.store
