WITH run AS (
    INSERT INTO janitor_runs (host, process_id, mode, version, lease_expires_at)
    VALUES (
        %(host)s, %(process_id)s, %(mode)s, %(version)s, now() + make_interval(secs => %(lease_seconds)s)
    )
    RETURNING id
)
SELECT
    run.id,
    now() AS now,
    (SELECT json_agg(known) FROM janitor_jobs AS known WHERE known.host IN ('', %(host)s))::text AS jobs
FROM run
