-- Free space that the job `metrics` noted at the end of runs, the last one of each hour.
SELECT DISTINCT ON (run.host, measured.key, date_trunc('hour', run.finished_at))
    run.host,
    measured.key AS path,
    extract(epoch FROM run.finished_at)::double precision AS at,
    measured.value::bigint AS free_bytes
FROM janitor_job_runs AS run
CROSS JOIN LATERAL jsonb_each_text(run.counts) AS measured
WHERE run.job = 'metrics'
  AND run.finished_at >= now() - interval '30 days'
  AND measured.key LIKE '/%%'
ORDER BY run.host, measured.key, date_trunc('hour', run.finished_at), run.finished_at DESC
