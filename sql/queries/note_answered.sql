-- Every request of this attempt was answered: nothing of it is on its way any more that could come late.
UPDATE janitor_attempts SET tree_fingerprint = NULL WHERE id = %(attempt_id)s
