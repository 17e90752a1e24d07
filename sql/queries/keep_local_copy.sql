UPDATE janitor_migrations
SET local_copy = 'kept', lease_expires_at = NULL, error_code = NULL, error = NULL
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleting'
