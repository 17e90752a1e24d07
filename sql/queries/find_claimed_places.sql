-- Executions still to be migrated whose place another row says that it lies at, in it or above it: in any state, under
-- whatever uuid. What this program itself has committed for the other row is left out, as its attempts tell it, with the
-- store; so this is for what others have written. shared_prefix is what all places to come have in common.
WITH placed AS (
    SELECT
        id, ruta_nube,
        regexp_replace(ruta_nube, '^[^:/]*://[^/]*/', '') COLLATE "C" AS place
    FROM ejecuciones_yaml
    WHERE ruta_nube IS NOT NULL
),
held AS (
    SELECT id, place, split_part(substr(place, length(%(shared_prefix)s) + 2), '/', 1) AS uuid
    FROM placed
    WHERE (
            starts_with(place, %(shared_prefix)s || '/')
            OR place = ANY(%(places_above)s::text[])
        )
      AND NOT EXISTS (
          SELECT FROM janitor_migrations AS migration
          WHERE migration.execution_id = placed.id AND migration.uri = placed.ruta_nube
      )
)
SELECT execution.id AS execution_id, min(held.id) AS holder_id
FROM held
JOIN ejecuciones_yaml AS execution
    ON execution.id <> held.id
    AND execution.migrado_a_nube IS NOT TRUE
    AND (execution.uuid::text = held.uuid OR held.place = ANY(%(places_above)s::text[]))
GROUP BY execution.id
