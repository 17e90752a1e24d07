-- Executions still to be migrated whose directory contains that of another one, compared as in find_conflicts.
WITH placed AS (
    SELECT
        id,
        uuid::text AS uuid,
        ruta_directorio,
        string_to_array(rtrim(regexp_replace(ruta_directorio, '/+', '/', 'g'), '/'), '/') AS parts
    FROM ejecuciones_yaml
    WHERE migrado_a_nube IS NOT TRUE AND ruta_directorio LIKE '/%%'
),
ancestors AS (
    SELECT DISTINCT array_to_string(placed.parts[1:depth], '/') AS path
    FROM placed
    CROSS JOIN LATERAL generate_series(1, cardinality(placed.parts) - 1) AS depth
)
SELECT placed.id, placed.uuid, placed.ruta_directorio
FROM placed
JOIN ancestors ON ancestors.path = array_to_string(placed.parts, '/')
