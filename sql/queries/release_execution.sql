-- Releases every held row of a uuid, also one that is gone or has another uuid by now, and records who ordered that.
WITH named AS (
    SELECT id, migrado_a_nube FROM ejecuciones_yaml WHERE uuid::text = %(uuid)s
),
released AS (
    DELETE FROM janitor_holds AS hold
    WHERE hold.uuid = %(uuid)s OR hold.execution_id IN (SELECT id FROM named)
    RETURNING execution_id, uuid, reason
),
audited AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, os_user, command, details)
    SELECT
        'released', execution_id, uuid, %(host)s, %(os_user)s, %(command)s, jsonb_build_object('reason', reason)
    FROM released
)
SELECT
    execution.id AS execution_id,
    execution.migrado_a_nube IS TRUE AS is_migrated,
    migration.local_copy,
    coalesce(migration.lease_expires_at > now(), false) AS is_under_way,
    false AS is_held,
    released.execution_id IS NOT NULL AS is_changed
FROM named AS execution
FULL JOIN released ON released.execution_id = execution.id
LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
ORDER BY execution.id
