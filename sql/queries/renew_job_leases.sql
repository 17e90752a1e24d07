UPDATE janitor_jobs
SET lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
WHERE run_id = %(run_id)s AND lease_expires_at IS NOT NULL
