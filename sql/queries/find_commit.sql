-- Used when the answer to a commit was lost and a second one found nothing to change: did the first succeed?
SELECT EXISTS (
    SELECT FROM janitor_attempts WHERE id = %(attempt_id)s AND state = 'committed'
) AS committed
