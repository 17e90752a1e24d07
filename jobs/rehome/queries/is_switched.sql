-- Used when a switch changed nothing: did an earlier one succeed whose answer was lost?
SELECT EXISTS (SELECT FROM janitor_attempts WHERE id = %(attempt_id)s AND state = 'committed') AS is_switched
