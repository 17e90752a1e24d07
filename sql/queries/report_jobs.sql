-- Runs of each job on each host, and the newest error.
SELECT
    job,
    host,
    count(*) AS runs,
    count(*) FILTER (WHERE outcome = 'failed') AS failed,
    max(started_at) AS last_started_at,
    max(started_at) FILTER (WHERE outcome = 'done') AS last_good_at,
    coalesce(sum(extract(epoch FROM finished_at - started_at)), 0)::double precision AS seconds,
    (array_agg(error ORDER BY started_at DESC) FILTER (WHERE outcome = 'failed'))[1] AS error
FROM janitor_job_runs
WHERE started_at >= now() - make_interval(days => %(days)s)
GROUP BY job, host
ORDER BY job, host
