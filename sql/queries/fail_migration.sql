-- Records why an execution was not migrated and releases it. With max_failed_runs the failure counts: after the first
-- one the next run tries again, then pauses of 1, 6 and 24 hours follow, and after that many it is in quarantine. It may
-- be sent twice if the connection breaks: the second statement then finds what the first has done.
WITH failed AS (
    UPDATE janitor_migrations
    SET state = %(state)s,
        error_code = %(error_code)s,
        error = %(error)s,
        lease_expires_at = NULL,
        failed_runs = failed_runs + (%(max_failed_runs)s::integer IS NOT NULL)::integer,
        next_try_at = CASE
            WHEN %(max_failed_runs)s::integer IS NOT NULL AND failed_runs >= 1
            THEN now() + least(interval '1 hour' * power(6, least(failed_runs - 1, 9)), interval '1 day')
        END,
        quarantined_at = CASE WHEN failed_runs + 1 >= %(max_failed_runs)s::integer THEN now() END
    WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND state = 'migrating'
    RETURNING execution_id, uuid, failed_runs, quarantined_at
),
audited AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, details)
    SELECT
        CASE WHEN quarantined_at IS NULL THEN 'failed' ELSE 'quarantined' END, execution_id, uuid, %(host)s,
        jsonb_build_object(
            'error_code', %(error_code)s::text, 'error', %(error)s::text, 'failed_runs', failed_runs,
            'run_id', %(run_id)s::bigint
        )
    FROM failed
    WHERE %(max_failed_runs)s::integer IS NOT NULL
)
SELECT failed_runs, quarantined_at IS NOT NULL AS is_quarantined FROM failed
UNION ALL
SELECT failed_runs, quarantined_at IS NOT NULL AS is_quarantined
FROM janitor_migrations
WHERE fencing_token = %(fencing_token)s AND execution_id = %(execution_id)s AND state IN ('failed', 'refused')
