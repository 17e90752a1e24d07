-- Of some places at a provider, those where only attempts of this database have stored anything: with the last of them.
SELECT DISTINCT ON (attempt.key_prefix)
    attempt.key_prefix AS place, attempt.id AS attempt_id, attempt.execution_id, migration.uuid, attempt.store
FROM janitor_attempts AS attempt
JOIN janitor_migrations AS migration ON migration.execution_id = attempt.execution_id
WHERE attempt.provider_id = %(provider_id)s
  AND attempt.key_prefix = ANY(%(places)s::text[])
  AND attempt.state = 'settled'
  AND NOT EXISTS (
        SELECT FROM janitor_attempts AS other
        WHERE other.place = attempt.place
          AND (other.provider_id = attempt.provider_id OR other.execution_id <> attempt.execution_id)
          AND (other.state <> 'settled' OR other.foreign_objects IS NOT FALSE)
    )
ORDER BY attempt.key_prefix, attempt.id DESC
