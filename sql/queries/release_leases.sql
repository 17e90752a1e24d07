-- The end of a run: unfinished work is free for the next run. An end by a signal is not a failure. A claim without a host,
-- of the job rehome, stays until it ends: so does what the run has stored, from which the next run of the job continues.
UPDATE janitor_migrations
SET lease_expires_at = NULL, state = CASE WHEN state = 'migrating' THEN 'failed' ELSE state END,
    error_code = CASE WHEN state = 'migrating' AND %(is_interrupted)s THEN 'interrupted' ELSE error_code END,
    error = CASE WHEN state = 'migrating' AND %(is_interrupted)s THEN NULL ELSE error END
WHERE run_id = %(run_id)s AND lease_expires_at IS NOT NULL AND host <> ''
