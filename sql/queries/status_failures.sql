-- Executions that could not be migrated, and local copies that could not be removed, by cause and provider. The provider
-- is that of the last attempt of the last run that tried; without an attempt there is none. The first time is that of
-- the first attempt that failed. `last` holds the newest one of each group, as text: an aggregate of its columns alone
-- would mix several.
WITH failed AS (
    SELECT
        'migration' AS kind, migration.execution_id, migration.uuid, migration.state, migration.error_code,
        migration.error, migration.fencing_token, migration.claimed_at, migration.quarantined_at
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.state IN ('failed', 'refused')
      AND migration.error_code IS DISTINCT FROM 'interrupted'
      AND execution.migrado_a_nube IS NOT TRUE
      AND execution.ruta_directorio IS NOT NULL
    UNION ALL
    SELECT
        'removal', migration.execution_id, migration.uuid, migration.state, migration.error_code,
        migration.error, migration.fencing_token, migration.claimed_at, migration.quarantined_at
    FROM janitor_migrations AS migration
    WHERE migration.local_copy = 'deleting' AND migration.error IS NOT NULL
)
SELECT
    failed.kind, failed.state, failed.error_code,
    CASE WHEN failed.kind = 'migration' THEN tried.provider_id END AS provider_id,
    count(*) AS count,
    count(failed.quarantined_at) AS quarantined,
    min(coalesce(CASE WHEN failed.kind = 'migration' THEN tried.first_failed_at END, failed.claimed_at)) AS oldest_at,
    max(failed.claimed_at) AS newest_at,
    max(ARRAY[
        to_char(failed.claimed_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS'), failed.uuid, coalesce(failed.error, '')
    ]) AS last
FROM failed
LEFT JOIN LATERAL (
    SELECT
        max(attempt.provider_id) FILTER (WHERE attempt.id = newest.id) AS provider_id,
        min(attempt.started_at) FILTER (WHERE attempt.error_code IS NOT NULL) AS first_failed_at
    FROM janitor_attempts AS attempt
    LEFT JOIN LATERAL (
        SELECT max(id) AS id
        FROM janitor_attempts
        WHERE execution_id = failed.execution_id AND fencing_token = failed.fencing_token
    ) AS newest ON true
    WHERE attempt.execution_id = failed.execution_id
) AS tried ON true
GROUP BY 1, 2, 3, 4
ORDER BY count(*) DESC, 1, 3, 4
