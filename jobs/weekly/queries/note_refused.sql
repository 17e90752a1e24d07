-- It has certainly not arrived, so this try does not count.
UPDATE janitor_weekly_reports SET tries = tries - 1
WHERE due_on = %(due_on)s::date AND sent_to = %(sent_to)s AND sent_at IS NULL
