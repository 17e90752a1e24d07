SELECT id, host, mode, started_at::text AS started_at, finished_at::text AS finished_at, exit_code, report
FROM janitor_runs
ORDER BY id DESC
LIMIT 1
