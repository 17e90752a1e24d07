-- Only jobs that this run holds: a run that has since taken over has its own row, and its state counts.
WITH ended AS (
    UPDATE janitor_job_runs
    SET finished_at = now(), outcome = %(outcome)s, counts = %(counts)s::jsonb, error = %(error)s
    WHERE run_id = %(run_id)s AND job = %(ended_job)s AND finished_at IS NULL
)
UPDATE janitor_jobs
SET finished_at = now(),
    lease_expires_at = NULL,
    last_outcome = %(outcome)s,
    last_error = %(error)s,
    last_good_at = CASE WHEN %(outcome)s = 'done' THEN last_started_at ELSE last_good_at END,
    tries = CASE %(outcome)s WHEN 'done' THEN 0 WHEN 'failed' THEN tries ELSE tries - 1 END
WHERE job = %(ended_job)s AND host = %(ended_host)s AND run_id = %(run_id)s AND finished_at IS NULL
