-- What the tables of the program say of causes of trouble: those that are open, how each job of this host and of the
-- platform last ended, when each host last ran, and when an execution was last migrated, as far as the last attempts say.
SELECT
    (
        SELECT coalesce(json_object_agg(cause, text), '{}') FROM janitor_causes WHERE state <> 'ok'
    ) AS open_causes,
    (
        SELECT coalesce(json_agg(json_build_object(
            'job', job, 'host', host, 'tries', tries, 'outcome', last_outcome, 'error', last_error,
            'is_ended', finished_at IS NOT NULL,
            'hours_since_good', extract(epoch FROM now() - last_good_at) / 3600,
            'hours_since_start', extract(epoch FROM now() - last_started_at) / 3600
        )), '[]')
        FROM janitor_jobs
    ) AS jobs,
    (
        SELECT extract(epoch FROM now() - max(finished_at)) / 86400
        FROM (SELECT state, finished_at FROM janitor_attempts ORDER BY id DESC LIMIT 500) AS recent
        WHERE state = 'committed'
    )::double precision AS days_since_migration
