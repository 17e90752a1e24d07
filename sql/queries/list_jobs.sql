SELECT
    now() AS now,
    (SELECT json_agg(known) FROM janitor_jobs AS known WHERE known.host IN ('', %(host)s))::text AS jobs
