-- Old attempts of which nothing is left, at places where no other attempt says anything: the rows at one place tell
-- together whose the objects there are, so they go together. Where a batch ends between them, those stay that call what is
-- there foreign: a place without rows is taken for foreign, too, if something lies there.
DELETE FROM janitor_attempts
WHERE id = ANY(ARRAY(
    SELECT attempt.id
    FROM janitor_attempts AS attempt
    WHERE attempt.state = 'settled'
      AND coalesce(attempt.finished_at, attempt.started_at) < now() - make_interval(days => %(days)s)
      AND NOT EXISTS (
            SELECT FROM janitor_attempts AS other
            WHERE other.place = attempt.place
              AND (
                    other.state <> 'settled'
                    OR other.closed_until > now()
                    OR coalesce(other.finished_at, other.started_at) >= now() - make_interval(days => %(days)s)
                )
        )
    ORDER BY attempt.place, coalesce(attempt.foreign_objects, false), attempt.id
    LIMIT %(batch_rows)s
))
  AND EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
    )
RETURNING id
