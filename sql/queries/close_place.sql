-- Runs before the first deletion at a place. Another run's deletions may still be in flight, so the place stays closed
-- after this run has ended, too.
UPDATE janitor_attempts
SET closed_by = CASE WHEN closed_until > now() AND closed_by <> %(run_id)s THEN 0 ELSE %(run_id)s END,
    closed_until = now() + make_interval(secs => %(late_seconds)s)
WHERE id = %(attempt_id)s AND state IN ('open', 'abandoned')
RETURNING id
