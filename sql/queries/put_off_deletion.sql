-- Stopped for no fault of its own, because the run was to end: that was no try.
UPDATE janitor_migrations
SET lease_expires_at = NULL, deletion_tries = greatest(deletion_tries - 1, 0), deletion_next_at = NULL
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleting'
