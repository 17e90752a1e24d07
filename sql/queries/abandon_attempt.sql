UPDATE janitor_attempts
SET state = 'abandoned', error_code = %(error_code)s, error = %(error)s, finished_at = now()
WHERE id = %(attempt_id)s AND state = 'open'
