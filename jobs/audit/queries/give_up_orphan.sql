-- An operator asks that an orphan go: what an attempt of this database left is a leftover again, which the migration
-- removes under its own rules. Only if the database says the same as when the operator was asked.
WITH given_up AS (
    UPDATE janitor_attempts AS attempt
    SET state = 'abandoned', removal_tries = 0, removal_next_at = NULL, error_code = coalesce(error_code, 'orphan')
    WHERE attempt.id = %(attempt_id)s
      AND attempt.state = 'settled'
      AND attempt.foreign_objects IS FALSE
      AND NOT EXISTS (
            SELECT FROM janitor_attempts AS other
            WHERE other.place = attempt.place
              AND other.id <> attempt.id
              AND (other.provider_id = attempt.provider_id OR other.execution_id <> attempt.execution_id)
              AND (other.state <> 'settled' OR other.foreign_objects IS NOT FALSE)
        )
    RETURNING attempt.execution_id, attempt.key_prefix, attempt.provider_id
),
noted AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, os_user, command, details)
    SELECT
        'orphan_given_up', execution_id, %(uuid)s, %(host)s, %(os_user)s, %(command)s,
        jsonb_build_object('place', key_prefix, 'provider_id', provider_id)
    FROM given_up
)
SELECT execution_id FROM given_up
