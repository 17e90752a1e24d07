-- Holds every row of a uuid of which something is still local, and records who ordered that. Repeated with the same
-- reason it changes nothing.
WITH named AS (
    SELECT
        execution.id,
        execution.uuid::text AS uuid,
        execution.migrado_a_nube IS TRUE AS is_migrated,
        migration.local_copy,
        coalesce(migration.lease_expires_at > now(), false) AS is_under_way,
        EXISTS (SELECT FROM janitor_holds WHERE execution_id = execution.id) AS was_held
    FROM ejecuciones_yaml AS execution
    LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
    WHERE execution.uuid::text = %(uuid)s
),
held AS (
    INSERT INTO janitor_holds AS hold (execution_id, uuid, reason, host, os_user)
    SELECT id, uuid, %(reason)s, %(host)s, %(os_user)s
    FROM named
    WHERE NOT is_migrated OR local_copy = 'deleting'
    ON CONFLICT (execution_id) DO UPDATE SET
        uuid = excluded.uuid,
        reason = excluded.reason,
        held_at = now(),
        host = excluded.host,
        os_user = excluded.os_user
    WHERE hold.reason <> excluded.reason
    RETURNING execution_id, uuid
),
audited AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, os_user, command, details)
    SELECT
        'held', execution_id, uuid, %(host)s, %(os_user)s, %(command)s, jsonb_build_object('reason', %(reason)s::text)
    FROM held
)
SELECT
    named.id AS execution_id, named.is_migrated, named.local_copy, named.is_under_way,
    named.was_held AS is_held, held.execution_id IS NOT NULL AS is_changed
FROM named
LEFT JOIN held ON held.execution_id = named.id
ORDER BY named.id
