SELECT count(*) AS sent FROM janitor_weekly_reports WHERE due_on = %(due_on)s::date AND sent_at IS NOT NULL
