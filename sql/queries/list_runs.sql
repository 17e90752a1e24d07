-- The last runs, newest first.
SELECT
    id, host, process_id, mode, version, started_at, finished_at, exit_code,
    coalesce(report, '{}'::jsonb) AS report
FROM janitor_runs
ORDER BY id DESC
LIMIT %(limit)s
