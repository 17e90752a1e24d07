-- Whatever stopped it came before the directory was gone, or its going did not reach the disk: nothing is known of that.
UPDATE janitor_migrations
SET lease_expires_at = NULL, error_code = %(error_code)s, error = %(error)s, emptied_in = NULL
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleting'
