SELECT
    job,
    extract(epoch FROM last_started_at)::double precision AS started,
    extract(epoch FROM last_good_at)::double precision AS good,
    extract(epoch FROM finished_at - last_started_at)::double precision AS seconds,
    last_outcome,
    tries
FROM janitor_jobs
WHERE host IN ('', %(host)s)
