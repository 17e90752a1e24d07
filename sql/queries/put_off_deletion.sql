-- Stopped without a fault, because the run had to end: this does not count as a try.
UPDATE janitor_migrations
SET lease_expires_at = NULL, deletion_tries = greatest(deletion_tries - 1, 0), deletion_next_at = NULL
WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND local_copy = 'deleting'
