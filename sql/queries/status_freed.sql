-- How much room the removal of local copies and the cleaning of temporary files made, within a day, a week and 30 days.
-- Each copy is read once, by the index, and compared with no time besides: that would take most of the time.
WITH spans AS MATERIALIZED (
    SELECT
        (SELECT sum(size_bytes) FROM janitor_migrations WHERE deleted_at > now() - interval '1 day') AS day,
        (
            SELECT sum(size_bytes)
            FROM janitor_migrations
            WHERE deleted_at > now() - interval '7 days' AND deleted_at <= now() - interval '1 day'
        ) AS rest_of_week,
        (
            SELECT sum(size_bytes)
            FROM janitor_migrations
            WHERE deleted_at > now() - interval '30 days' AND deleted_at <= now() - interval '7 days'
        ) AS rest_of_month
),
removed AS (
    SELECT
        coalesce(day, 0)::bigint AS copies_day,
        (coalesce(day, 0) + coalesce(rest_of_week, 0))::bigint AS copies_week,
        (coalesce(day, 0) + coalesce(rest_of_week, 0) + coalesce(rest_of_month, 0))::bigint AS copies_month
    FROM spans
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
