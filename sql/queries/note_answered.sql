-- Every request of this attempt was answered: none can still arrive late.
UPDATE janitor_attempts SET tree_fingerprint = NULL WHERE id = %(attempt_id)s
