-- Written before the first remote byte, only by the holder of the claim and only while the row is not migrated.
WITH claimed AS (
    UPDATE janitor_migrations
    SET attempts = attempts + 1
    WHERE execution_id = %(execution_id)s
      AND fencing_token = %(fencing_token)s
      AND state = 'migrating'
      AND EXISTS (
          SELECT FROM ejecuciones_yaml
          WHERE id = %(execution_id)s AND migrado_a_nube IS NOT TRUE
      )
    RETURNING execution_id
),
earlier AS (
    SELECT
        count(*) FILTER (WHERE foreign_objects IS NOT NULL) AS count,
        coalesce(bool_or(foreign_objects OR state = 'committed'), false) AS foreign_objects
    FROM janitor_attempts
    WHERE execution_id = %(execution_id)s AND provider_id = %(provider_id)s AND key_prefix = %(key_prefix)s
)
INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state)
SELECT execution_id, %(run_id)s, %(host)s, %(fencing_token)s, %(provider_id)s, %(key_prefix)s, 'open'
FROM claimed
RETURNING
    id,
    (SELECT count FROM earlier) AS earlier_attempts_here,
    (SELECT foreign_objects FROM earlier) AS foreign_objects_here
