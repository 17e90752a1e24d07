SELECT host, exit_code, count(*) AS runs
FROM janitor_runs
WHERE started_at >= now() - make_interval(days => %(days)s) AND finished_at IS NOT NULL
GROUP BY host, exit_code
ORDER BY host, exit_code
