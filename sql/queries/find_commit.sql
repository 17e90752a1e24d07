-- Asked on a new connection when the answer to a commit was lost: did it happen?
SELECT EXISTS (
    SELECT FROM janitor_attempts WHERE id = %(attempt_id)s AND state = 'committed'
) AS committed
