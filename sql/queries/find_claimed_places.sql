-- Executions still to be migrated at whose place, or inside it, another row says it is stored: in any state, with any
-- uuid. Excludes rows committed by this program, whose attempts record place and store; so this covers what others
-- wrote. A row naming a place above all others is not a copy and blocks nothing. A place is cloud://tipo/, the prefix
-- that all places share, and the uuid. Every row of a large table passes here, so the rest is compared only for rows
-- with the uuid of a pending execution.
WITH pending AS MATERIALIZED (
    SELECT id, uuid::text AS uuid
    FROM ejecuciones_yaml
    WHERE migrado_a_nube IS NOT TRUE
),
matched AS MATERIALIZED (
    SELECT pending.id AS execution_id, placed.id AS holder_id, placed.ruta_nube
    FROM ejecuciones_yaml AS placed
    JOIN pending ON pending.uuid = split_part(placed.ruta_nube, '/', %(uuid_part)s) AND pending.id <> placed.id
    WHERE placed.ruta_nube IS NOT NULL
)
SELECT matched.execution_id, min(matched.holder_id) AS holder_id
FROM matched
WHERE starts_with(
        substr(matched.ruta_nube, 9 + strpos(substr(matched.ruta_nube, 9), '/')), %(shared_prefix)s || '/'
    )
  AND NOT EXISTS (
    SELECT FROM janitor_migrations AS migration
    WHERE migration.execution_id = matched.holder_id AND migration.uri = matched.ruta_nube
)
GROUP BY matched.execution_id
