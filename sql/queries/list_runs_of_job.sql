-- The last runs of one job, newest first.
SELECT run_id, host, started_at, finished_at, outcome, coalesce(counts, '{}'::jsonb) AS counts, error
FROM janitor_job_runs
WHERE job = %(named_job)s
ORDER BY run_id DESC
LIMIT %(limit)s
