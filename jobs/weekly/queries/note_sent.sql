UPDATE janitor_weekly_reports SET sent_at = now() WHERE due_on = %(due_on)s::date AND sent_to = %(sent_to)s
