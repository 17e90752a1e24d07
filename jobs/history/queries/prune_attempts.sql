-- Old settled attempts, at places without any other attempt that is open, closed or recent. The rows of one place together
-- show who owns its objects, so they are deleted together. If a batch ends between them, the rows that call the objects
-- foreign stay until last: a place without rows, but with objects, also counts as foreign. A batch begins at the place at
-- which the one before it ended, so that all of them together look at each settled attempt once.
WITH gone AS (
    DELETE FROM janitor_attempts
    WHERE id = ANY(ARRAY(
        SELECT attempt.id
        FROM janitor_attempts AS attempt
        WHERE attempt.state = 'settled'
          AND attempt.place >= %(from_place)s
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
    RETURNING id, place
)
SELECT id, max(place) OVER () AS last_place FROM gone
