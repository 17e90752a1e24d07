-- It has certainly not arrived, so this try does not count. One that was counted since stays.
UPDATE janitor_weekly_reports SET tries = tries - 1, attempt = NULL
WHERE due_on = %(due_on)s::date AND sent_to = %(sent_to)s AND attempt = %(attempt)s AND sent_at IS NULL
