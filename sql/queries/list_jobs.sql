SELECT
    now() AS now,
    (SELECT json_agg(job) FROM janitor_jobs AS job WHERE job.host IN ('', %(host)s))::text AS jobs
