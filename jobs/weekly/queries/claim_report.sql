-- Counts a try before anything is sent. Gives no row where the report has gone out, or may have arrived twice.
INSERT INTO janitor_weekly_reports AS report (due_on, sent_to)
VALUES (%(due_on)s::date, %(sent_to)s)
ON CONFLICT (due_on, sent_to) DO UPDATE SET tries = report.tries + 1, claimed_at = now()
WHERE %(is_asked_for)s OR (report.sent_at IS NULL AND report.tries < 2)
RETURNING tries
