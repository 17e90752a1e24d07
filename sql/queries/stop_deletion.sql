-- The removal stopped before the directory was gone, or before that was durable: whether it is gone is unknown.
UPDATE janitor_migrations
SET lease_expires_at = NULL, error_code = %(error_code)s, error = %(error)s, emptied_in = NULL
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleting'
