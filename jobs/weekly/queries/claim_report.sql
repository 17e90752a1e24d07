-- Counts a try before anything is sent, for the run that has the job. The same attempt counts once, as an answer may be
-- lost. Gives no row where the report has gone out, or may have arrived twice.
INSERT INTO janitor_weekly_reports AS report (due_on, sent_to, attempt)
SELECT %(due_on)s::date, %(sent_to)s, %(attempt)s
FROM janitor_jobs AS current
WHERE current.job = %(job)s
  AND current.host = ''
  AND current.fencing_token = %(fencing_token)s
  AND current.lease_expires_at > now()
ON CONFLICT (due_on, sent_to) DO UPDATE SET
    tries = report.tries + CASE WHEN report.attempt = excluded.attempt THEN 0 ELSE 1 END,
    attempt = excluded.attempt,
    claimed_at = now()
WHERE report.attempt = excluded.attempt
   OR %(is_asked_for)s
   OR (report.sent_at IS NULL AND report.tries < 2)
RETURNING tries
