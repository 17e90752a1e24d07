-- One statement, so that of several runs exactly one gets a job. Whose lease is of this host is dead, as this run holds
-- the job's lock here. A scheduled job comes with the token that was read when it was found due: if another run has taken
-- it up since, it is not due any more. A lease that ends far ahead was given before the clock was set back: who is alive
-- renews it in a third of its time, and who is dead may never come back. The same run may ask twice, as an answer may be
-- lost.
WITH claimed AS (
    INSERT INTO janitor_jobs AS job
        (job, host, run_id, held_by, fencing_token, lease_expires_at, tries, last_started_at)
    VALUES (
        %(job)s, %(job_host)s, %(run_id)s, %(held_by)s, 1, now() + make_interval(secs => %(lease_seconds)s), 1, now()
    )
    ON CONFLICT (job, host) DO UPDATE SET
        run_id = excluded.run_id,
        held_by = excluded.held_by,
        fencing_token = job.fencing_token + 1,
        lease_expires_at = excluded.lease_expires_at,
        tries = job.tries + CASE WHEN job.run_id = excluded.run_id THEN 0 ELSE 1 END,
        last_started_at = now(),
        finished_at = NULL
    WHERE job.run_id = excluded.run_id
       OR (
            (%(seen_token)s IS NULL OR job.fencing_token = %(seen_token)s)
            AND (
                job.lease_expires_at IS NULL
                OR job.lease_expires_at < now()
                OR job.lease_expires_at > now() + make_interval(secs => 2 * %(lease_seconds)s)
                OR job.held_by = excluded.held_by
            )
        )
    RETURNING job.fencing_token
), begun AS (
    INSERT INTO janitor_job_runs (run_id, job, host)
    SELECT %(run_id)s, %(job)s, %(held_by)s FROM claimed
    ON CONFLICT (run_id, job) DO NOTHING
)
SELECT fencing_token FROM claimed
