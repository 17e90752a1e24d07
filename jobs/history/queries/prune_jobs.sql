-- What is known of the jobs of hosts that have been silent for so long: none of their runs began since, or is under way. A host
-- that begins a job at this moment changes its row, which then stays.
DELETE FROM janitor_jobs AS silent
WHERE silent.host <> ''
  AND silent.last_started_at < now() - make_interval(days => %(days)s)
  AND (silent.lease_expires_at IS NULL OR silent.lease_expires_at < now())
  AND NOT EXISTS (
        SELECT FROM janitor_runs AS run
        WHERE run.host = silent.host
          AND (run.started_at >= now() - make_interval(days => %(days)s) OR run.lease_expires_at > now())
    )
  AND EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
    )
RETURNING silent.job
