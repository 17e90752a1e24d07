-- Old runs of jobs. When each job was last good, and what is still under way, is in janitor_jobs. The rows are
-- found again by where they are, at the price of a batch, however large the table is; one that is written to meanwhile
-- is somewhere else, and stays.
DELETE FROM janitor_job_runs
WHERE ctid = ANY(ARRAY(
    SELECT job_run.ctid
    FROM janitor_job_runs AS job_run
    WHERE job_run.started_at < now() - make_interval(days => %(days)s)
      AND NOT EXISTS (
            SELECT FROM janitor_jobs AS current
            WHERE current.run_id = job_run.run_id AND current.job = job_run.job AND current.finished_at IS NULL
        )
    ORDER BY job_run.run_id
    LIMIT %(batch_rows)s
))
  AND EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
    )
RETURNING run_id
