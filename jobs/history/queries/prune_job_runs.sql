-- Old runs of jobs. janitor_jobs holds when each job last succeeded, and the runs under way.
DELETE FROM janitor_job_runs
WHERE (run_id, job) IN (
    SELECT job_run.run_id, job_run.job
    FROM janitor_job_runs AS job_run
    WHERE job_run.started_at < now() - make_interval(days => %(days)s)
      AND NOT EXISTS (
            SELECT FROM janitor_jobs AS current
            WHERE current.run_id = job_run.run_id AND current.job = job_run.job AND current.finished_at IS NULL
        )
    ORDER BY job_run.run_id
    LIMIT %(batch_rows)s
)
  AND EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
    )
RETURNING run_id
