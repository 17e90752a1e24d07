-- Every deletion sent by this run was answered; those of other runs may still arrive.
UPDATE janitor_attempts SET closed_until = NULL WHERE id = %(attempt_id)s AND closed_by = %(run_id)s
