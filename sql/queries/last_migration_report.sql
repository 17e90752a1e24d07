-- What the last run that ended a migration has named in its report.
SELECT run.report -> 'named' AS named
FROM janitor_jobs AS job
JOIN janitor_runs AS run ON run.id = job.run_id
WHERE job.job = 'migration' AND run.finished_at IS NOT NULL
ORDER BY run.id DESC
LIMIT 1
