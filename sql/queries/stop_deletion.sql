UPDATE janitor_migrations
SET lease_expires_at = NULL, error_code = %(error_code)s, error = %(error)s
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleting'
