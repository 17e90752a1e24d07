UPDATE janitor_migrations
SET state = %(state)s, error_code = %(error_code)s, error = %(error)s, lease_expires_at = NULL
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND state = 'migrating'
