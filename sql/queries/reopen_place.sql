-- Every deletion that this run has sent was answered; those of other runs are not known to have arrived.
UPDATE janitor_attempts SET closed_until = NULL WHERE id = %(attempt_id)s AND closed_by = %(run_id)s
