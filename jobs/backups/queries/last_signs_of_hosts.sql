-- When some hosts last began a run; those without any are left out.
SELECT host, max(started_at) AS last_run
FROM janitor_runs
WHERE host = ANY(%(hosts)s::text[])
GROUP BY host
