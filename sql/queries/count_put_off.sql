-- Executions still to be migrated that no run takes up for the time being: held by an operator, in quarantine, or
-- waiting for their next try after failures. Each counts once.
WITH put_off AS (
    SELECT migration.execution_id, migration.quarantined_at IS NOT NULL AS is_quarantined
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE (migration.next_try_at IS NOT NULL OR migration.quarantined_at IS NOT NULL)
      AND (migration.quarantined_at IS NOT NULL OR migration.next_try_at > now())
      AND execution.migrado_a_nube IS NOT TRUE
      AND execution.uuid::text = migration.uuid
      AND execution.ruta_directorio IS NOT DISTINCT FROM migration.directory
      AND execution.fecha_ejecucion::timestamptz IS NOT DISTINCT FROM migration.executed_at
      AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = execution.id)
)
SELECT
    (
        SELECT count(*)
        FROM janitor_holds AS hold
        JOIN ejecuciones_yaml AS execution ON execution.id = hold.execution_id
        WHERE execution.migrado_a_nube IS NOT TRUE
    ) AS held,
    (SELECT count(*) FROM put_off WHERE is_quarantined) AS quarantined,
    (SELECT count(*) FROM put_off WHERE NOT is_quarantined) AS waiting
