-- What happened to the given rows, and what was recorded under their uuid: the last events, newest first. An attempt
-- has a beginning and, once it has ended, an end. Of copies removed before there was an audit trail only the last
-- removal is known. An attempt whose copy was brought to another provider succeeded, which its record no longer shows: it
-- is told with the time at which it was committed, or, where an earlier version has moved it, with one near it. Of one
-- whose objects an audit had given up the trail itself tells.
WITH event AS (
    SELECT
        audit.at, 2 AS rank, audit.id, audit.event, audit.execution_id, audit.host, audit.os_user, audit.command,
        NULL::integer AS provider_id, audit.details ->> 'error_code' AS error_code, audit.details ->> 'error' AS error,
        coalesce(audit.details, '{}'::jsonb) - 'error' - 'error_code' AS details
    FROM janitor_audit AS audit
    WHERE audit.uuid = %(uuid)s
    UNION ALL
    SELECT
        attempt.started_at, 0, attempt.id, 'attempt_began', attempt.execution_id, attempt.host, NULL, NULL,
        attempt.provider_id, NULL, NULL, jsonb_build_object('attempt_id', attempt.id, 'place', attempt.key_prefix)
    FROM janitor_attempts AS attempt
    WHERE attempt.execution_id = ANY(%(execution_ids)s)
    UNION ALL
    SELECT
        attempt.finished_at, 1, attempt.id,
        CASE WHEN attempt.state = 'committed' THEN 'migrated' ELSE 'attempt_failed' END,
        attempt.execution_id, attempt.host, NULL, NULL, attempt.provider_id, attempt.error_code, attempt.error,
        jsonb_build_object('attempt_id', attempt.id, 'place', attempt.key_prefix)
    FROM janitor_attempts AS attempt
    WHERE attempt.execution_id = ANY(%(execution_ids)s)
      AND attempt.finished_at IS NOT NULL
      AND (attempt.state IN ('committed', 'abandoned') OR attempt.error IS NOT NULL)
      AND coalesce(attempt.error_code NOT IN ('rehomed', 'orphan'), true)
    UNION ALL
    SELECT
        coalesce(
            (
                SELECT (audit.details ->> 'from_committed_at')::timestamptz
                FROM janitor_audit AS audit
                WHERE audit.uuid = %(uuid)s
                  AND audit.execution_id = attempt.execution_id
                  AND audit.event = 'rehomed'
                  AND audit.at = attempt.finished_at
                LIMIT 1
            ),
            (
                SELECT migration.migrated_at
                FROM janitor_migrations AS migration
                WHERE migration.execution_id = attempt.execution_id
                  AND migration.migrated_at BETWEEN attempt.started_at AND attempt.finished_at
            ),
            attempt.started_at
        ),
        1, attempt.id, 'migrated', attempt.execution_id, attempt.host, NULL, NULL, attempt.provider_id, NULL, NULL,
        jsonb_build_object('attempt_id', attempt.id, 'place', attempt.key_prefix)
    FROM janitor_attempts AS attempt
    WHERE attempt.execution_id = ANY(%(execution_ids)s)
      AND attempt.error_code = 'rehomed'
    UNION ALL
    SELECT
        migration.deleted_at, 2, 0, 'local_copy_deleted', migration.execution_id, migration.host, NULL, NULL, NULL,
        NULL, NULL, jsonb_build_object('directory', migration.directory)
    FROM janitor_migrations AS migration
    WHERE migration.execution_id = ANY(%(execution_ids)s)
      AND migration.deleted_at IS NOT NULL
      AND NOT EXISTS (
            SELECT FROM janitor_audit AS audit
            WHERE audit.uuid = migration.uuid
              AND audit.event = 'local_copy_deleted'
              AND audit.at = migration.deleted_at
        )
)
SELECT event.at, event.event, event.execution_id, event.host, event.os_user, event.command, event.provider_id,
       provider.nombre AS provider, event.error_code, event.error, event.details
FROM event
LEFT JOIN cloud_providers AS provider ON provider.id = event.provider_id
ORDER BY event.at DESC, event.rank DESC, event.id DESC
LIMIT %(limit)s
