-- Reports of old runs, but never the newest one, which status shows, and none that still holds something: its number is
-- what tells its leases from those of others. As an array the numbers are looked up one by one, however large the table
-- is; joined to it, they would cost a look at all of it for each batch.
DELETE FROM janitor_runs
WHERE id = ANY(ARRAY(
    SELECT run.id
    FROM janitor_runs AS run
    WHERE run.started_at < now() - make_interval(days => %(days)s)
      AND run.id < (SELECT max(id) FROM janitor_runs)
      AND NOT EXISTS (SELECT FROM janitor_jobs WHERE run_id = run.id AND finished_at IS NULL)
      AND NOT EXISTS (SELECT FROM janitor_migrations WHERE run_id = run.id AND lease_expires_at IS NOT NULL)
    ORDER BY run.id
    LIMIT %(batch_rows)s
))
  AND EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
    )
RETURNING id
