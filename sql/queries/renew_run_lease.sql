UPDATE janitor_runs
SET lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(run_id)s AND finished_at IS NULL
