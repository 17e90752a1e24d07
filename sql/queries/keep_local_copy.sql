UPDATE janitor_migrations
SET local_copy = 'kept', lease_expires_at = NULL, error_code = NULL, error = NULL,
    deletion_tries = 0, deletion_next_at = NULL, deletion_token = NULL, set_aside_inode = NULL, emptied_in = NULL
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleting'
