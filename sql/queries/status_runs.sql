-- Runs without an end that are at work, as their lease shows, or that were the last to do a job.
SELECT
    run.id, run.host, run.process_id, run.mode, run.started_at, run.lease_expires_at,
    coalesce(run.lease_expires_at > now(), false) AS is_leased,
    job.job, job.last_started_at AS job_started_at
FROM janitor_runs AS run
LEFT JOIN janitor_jobs AS job ON job.run_id = run.id AND job.finished_at IS NULL
WHERE run.finished_at IS NULL
  AND (run.lease_expires_at > now() OR job.job IS NOT NULL)
ORDER BY run.id, job.job
LIMIT 1000
