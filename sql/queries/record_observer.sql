-- A job that only looks on was done within this run. Nobody else has to be kept from it, so nothing is claimed.
WITH run AS (
    INSERT INTO janitor_job_runs (run_id, job, host, started_at, finished_at, outcome, counts, error)
    VALUES (
        %(run_id)s, %(job)s, %(host)s, now() - make_interval(secs => %(seconds)s), now(), %(outcome)s,
        %(counts)s::jsonb, %(error)s
    )
    ON CONFLICT (run_id, job) DO NOTHING
)
INSERT INTO janitor_jobs AS known
    (job, host, run_id, held_by, fencing_token, tries, last_started_at, last_good_at, finished_at, last_outcome, last_error)
VALUES (
    %(job)s, %(host)s, %(run_id)s, %(host)s, 1, CASE WHEN %(outcome)s = 'done' THEN 0 ELSE 1 END,
    now() - make_interval(secs => %(seconds)s), CASE WHEN %(outcome)s = 'done' THEN now() END, now(), %(outcome)s, %(error)s
)
ON CONFLICT (job, host) DO UPDATE SET
    run_id = excluded.run_id,
    held_by = excluded.held_by,
    fencing_token = known.fencing_token + 1,
    tries = CASE WHEN %(outcome)s = 'done' THEN 0 ELSE known.tries + 1 END,
    last_started_at = excluded.last_started_at,
    last_good_at = coalesce(excluded.last_good_at, known.last_good_at),
    finished_at = excluded.finished_at,
    last_outcome = excluded.last_outcome,
    last_error = excluded.last_error
