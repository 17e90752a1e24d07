-- Executions still to be migrated whose place another row says that it lies at, in it or above it: in any state, under
-- whatever uuid. What this program itself has committed for the other row is left out, as its attempts tell it, with the
-- store; so this is for what others have written. shared_prefix is what all places to come have in common. A place is what
-- follows cloud://tipo/; no pattern is used, as most rows of a large table come by here.
WITH placed AS (
    SELECT id, ruta_nube, substr(ruta_nube, 9 + strpos(substr(ruta_nube, 9), '/')) AS place
    FROM ejecuciones_yaml
    WHERE ruta_nube IS NOT NULL
),
pending AS MATERIALIZED (
    SELECT id, uuid::text AS uuid
    FROM ejecuciones_yaml
    WHERE migrado_a_nube IS NOT TRUE
),
matched AS MATERIALIZED (
    SELECT pending.id AS execution_id, placed.id AS holder_id, placed.ruta_nube
    FROM placed
    JOIN pending
        ON pending.uuid = split_part(substr(placed.place, length(%(shared_prefix)s) + 2), '/', 1)
        AND pending.id <> placed.id
    WHERE starts_with(placed.place, %(shared_prefix)s || '/')
    UNION ALL
    SELECT pending.id, placed.id, placed.ruta_nube
    FROM placed
    JOIN pending ON pending.id <> placed.id
    WHERE placed.place = ANY(%(places_above)s::text[])
)
SELECT matched.execution_id, min(matched.holder_id) AS holder_id
FROM matched
WHERE NOT EXISTS (
    SELECT FROM janitor_migrations AS migration
    WHERE migration.execution_id = matched.holder_id AND migration.uri = matched.ruta_nube
)
GROUP BY matched.execution_id
