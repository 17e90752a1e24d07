UPDATE janitor_attempts SET state = 'settled' WHERE id = %(attempt_id)s
