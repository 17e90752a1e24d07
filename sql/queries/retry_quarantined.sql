-- Takes executions out of quarantine, so that the next run takes them up, and records who ordered that. Only those that
-- are still in it: what a run took up, or an operator released, since they were listed stays as it is.
WITH retried AS (
    UPDATE janitor_migrations AS migration
    SET failed_runs = 0, next_try_at = NULL, quarantined_at = NULL
    FROM ejecuciones_yaml AS execution
    WHERE migration.execution_id = ANY(%(execution_ids)s::bigint[])
      AND execution.id = migration.execution_id
      AND execution.migrado_a_nube IS NOT TRUE
      AND migration.quarantined_at IS NOT NULL
      AND (migration.lease_expires_at IS NULL OR migration.lease_expires_at < now())
    RETURNING migration.execution_id, migration.uuid, migration.error_code
),
audited AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, os_user, command, details)
    SELECT
        'retried', execution_id, uuid, %(host)s, %(os_user)s, %(command)s, jsonb_build_object('error_code', error_code)
    FROM retried
)
SELECT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = retried.execution_id) AS is_held
FROM retried
