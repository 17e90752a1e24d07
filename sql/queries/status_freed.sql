-- How much room the removal of local copies and the cleaning of temporary files made, within a day, a week and 30 days.
WITH removed AS (
    SELECT
        coalesce(sum(size_bytes) FILTER (WHERE deleted_at > now() - interval '1 day'), 0)::bigint AS copies_day,
        coalesce(sum(size_bytes) FILTER (WHERE deleted_at > now() - interval '7 days'), 0)::bigint AS copies_week,
        coalesce(sum(size_bytes), 0)::bigint AS copies_month
    FROM janitor_migrations
    WHERE deleted_at > now() - interval '30 days'
),
cleaned AS (
    SELECT started_at, (counts ->> 'temp_bytes_deleted')::bigint AS bytes, (counts ->> 'temp_files_deleted')::bigint AS files
    FROM janitor_job_runs
    WHERE job = 'temp' AND started_at > now() - interval '30 days'
)
SELECT
    removed.*,
    coalesce(sum(bytes) FILTER (WHERE started_at > now() - interval '1 day'), 0)::bigint AS temp_day,
    coalesce(sum(bytes) FILTER (WHERE started_at > now() - interval '7 days'), 0)::bigint AS temp_week,
    coalesce(sum(bytes), 0)::bigint AS temp_month,
    coalesce(sum(files) FILTER (WHERE started_at > now() - interval '1 day'), 0)::bigint AS temp_files_day
FROM removed
LEFT JOIN cleaned ON true
GROUP BY 1, 2, 3
