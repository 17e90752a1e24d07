-- What the migrations of the last 30 days came to, of all hosts.
SELECT
    coalesce(sum((counts ->> 'migrated')::numeric), 0)::bigint AS executions,
    coalesce(sum((counts ->> 'migrated_bytes')::numeric), 0)::bigint AS size_bytes,
    coalesce(sum(extract(epoch FROM finished_at - started_at)), 0)::double precision AS seconds
FROM janitor_job_runs
WHERE job = 'migration'
  AND started_at > now() - interval '30 days'
  AND finished_at IS NOT NULL
  AND (counts ->> 'migrated')::numeric > 0
