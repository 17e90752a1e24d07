-- Executions still to be migrated whose place another row says that it lies at, or in it: in any state, under whatever
-- uuid. What this program itself has committed for the other row is left out, as its attempts tell it, with the store; so
-- this is for what others have written. A row that names a place above all others is none of a copy, and stops nobody.
-- A place is cloud://tipo/, what all places have in common, and the uuid, which is that part of it; all rows of a large
-- table come by here, so only for those with the uuid of a pending one the rest is compared.
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
