-- What a run would delete, under the same conditions.
SELECT
    (
        SELECT count(*)
        FROM janitor_jobs AS silent
        WHERE silent.host <> ''
          AND silent.last_started_at < now() - make_interval(days => %(days)s)
          AND (silent.lease_expires_at IS NULL OR silent.lease_expires_at < now())
          AND NOT EXISTS (
                SELECT FROM janitor_runs AS run
                WHERE run.host = silent.host
                  AND (run.started_at >= now() - make_interval(days => %(days)s) OR run.lease_expires_at > now())
            )
    ) AS jobs,
    (
        SELECT count(*)
        FROM janitor_runs AS run
        WHERE run.started_at < now() - make_interval(days => %(days)s)
          AND run.id < (SELECT max(id) FROM janitor_runs)
          AND NOT EXISTS (SELECT FROM janitor_jobs WHERE run_id = run.id AND finished_at IS NULL)
          AND NOT EXISTS (SELECT FROM janitor_migrations WHERE run_id = run.id AND lease_expires_at IS NOT NULL)
    ) AS runs,
    (
        SELECT count(*)
        FROM janitor_job_runs AS job_run
        WHERE job_run.started_at < now() - make_interval(days => %(days)s)
          AND NOT EXISTS (
                SELECT FROM janitor_jobs AS current
                WHERE current.run_id = job_run.run_id AND current.job = job_run.job AND current.finished_at IS NULL
            )
    ) AS job_runs,
    (
        SELECT count(*)
        FROM janitor_attempts AS attempt
        WHERE attempt.state = 'settled'
          AND coalesce(attempt.finished_at, attempt.started_at) < now() - make_interval(days => %(days)s)
          AND NOT EXISTS (
                SELECT FROM janitor_attempts AS other
                WHERE other.place = attempt.place
                  AND (
                        other.state <> 'settled'
                        OR other.closed_until > now()
                        OR coalesce(other.finished_at, other.started_at) >= now() - make_interval(days => %(days)s)
                    )
            )
    ) AS attempts,
    (
        SELECT count(*)
        FROM janitor_audit AS audit
        WHERE audit.at < date_trunc(
            'month', (now() - make_interval(days => greatest(%(days)s, 31))) AT TIME ZONE 'UTC'
        ) AT TIME ZONE 'UTC'
    ) AS audit
