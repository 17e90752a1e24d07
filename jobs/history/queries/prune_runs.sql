-- Reports of old runs, except the newest one, which status shows, and those that still hold something: their number
-- distinguishes their leases from those of other runs.
DELETE FROM janitor_runs
WHERE id IN (
    SELECT run.id
    FROM janitor_runs AS run
    WHERE run.started_at < now() - make_interval(days => %(days)s)
      AND run.id < (SELECT max(id) FROM janitor_runs)
      AND NOT EXISTS (SELECT FROM janitor_jobs WHERE run_id = run.id AND finished_at IS NULL)
      AND NOT EXISTS (SELECT FROM janitor_migrations WHERE run_id = run.id AND lease_expires_at IS NOT NULL)
    ORDER BY run.id
    LIMIT %(batch_rows)s
)
  AND EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
    )
RETURNING id
