-- Executions still to be migrated whose directory equals or contains another one's, each with one of those. In byte
-- order, paths with a common beginning are adjacent: so a directory contains another one if it contains the next. Paths
-- are compared without doubled slashes and with one at the end.
WITH placed AS (
    SELECT
        id,
        uuid::text AS uuid,
        ruta_directorio,
        rtrim(
            CASE WHEN ruta_directorio LIKE '%%//%%' THEN regexp_replace(ruta_directorio, '/+', '/', 'g')
            ELSE ruta_directorio END,
            '/'
        ) || '/' COLLATE "C" AS path
    FROM ejecuciones_yaml
    WHERE migrado_a_nube IS NOT TRUE
      AND ruta_directorio LIKE '/%%'
      AND id <> ALL(%(refused_ids)s)
),
ordered AS (
    SELECT id, uuid, ruta_directorio, path, lead(id) OVER by_path AS next_id, lead(path) OVER by_path AS next_path
    FROM placed
    WHERE path <> '/'
    WINDOW by_path AS (ORDER BY path)
)
SELECT id, uuid, ruta_directorio, next_id
FROM ordered
WHERE starts_with(next_path, path)
