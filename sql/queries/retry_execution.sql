-- Forgets the failures of every row of a uuid, so that the next run takes it up, and records who ordered that: of its
-- migration, or of the removal of its local copy. What a run is working on is left to it.
WITH named AS (
    SELECT
        execution.id,
        execution.migrado_a_nube IS TRUE AS is_migrated,
        migration.local_copy,
        coalesce(migration.lease_expires_at > now(), false) AS is_under_way,
        EXISTS (SELECT FROM janitor_holds WHERE execution_id = execution.id) AS is_held
    FROM ejecuciones_yaml AS execution
    LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
    WHERE execution.uuid::text = %(uuid)s
),
retried AS (
    UPDATE janitor_migrations AS migration
    SET failed_runs = 0, next_try_at = NULL, quarantined_at = NULL, deletion_tries = 0, deletion_next_at = NULL
    FROM named
    WHERE migration.execution_id = named.id
      AND (
            (NOT named.is_migrated AND migration.failed_runs > 0)
            OR (named.is_migrated AND migration.local_copy = 'deleting' AND migration.deletion_tries > 0)
        )
      AND (migration.lease_expires_at IS NULL OR migration.lease_expires_at < now())
    RETURNING migration.execution_id, migration.uuid, migration.error_code
),
audited AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, os_user, command, details)
    SELECT
        'retried', execution_id, uuid, %(host)s, %(os_user)s, %(command)s, jsonb_build_object('error_code', error_code)
    FROM retried
)
SELECT
    named.id AS execution_id, named.is_migrated, named.local_copy, named.is_under_way, named.is_held,
    retried.execution_id IS NOT NULL AS is_changed
FROM named
LEFT JOIN retried ON retried.execution_id = named.id
ORDER BY named.id
