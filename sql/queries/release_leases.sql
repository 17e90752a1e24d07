-- The end of a run: what it did not finish is free for the next one.
UPDATE janitor_migrations
SET lease_expires_at = NULL, state = CASE WHEN state = 'migrating' THEN 'failed' ELSE state END
WHERE run_id = %(run_id)s AND lease_expires_at IS NOT NULL
