-- Executions still to be migrated whose directory is, or lies in, or contains that of another one, and those whose
-- uuid (and so whose place in the cloud) another row has too. Rows that are refused anyway stand in nobody's way. Paths are compared without doubled or final slashes.
WITH pending AS (
    SELECT
        id,
        uuid::text AS uuid,
        rtrim(regexp_replace(ruta_directorio, '/+', '/', 'g'), '/') AS path
    FROM ejecuciones_yaml
    WHERE migrado_a_nube IS NOT TRUE
),
placed AS (
    SELECT id, path, string_to_array(path, '/') AS parts
    FROM pending
    WHERE path LIKE '/%%'
      AND id <> ALL(%(refused_ids)s)
),
nested AS (
    SELECT inner_execution.id AS inner_id, outer_execution.id AS outer_id
    FROM placed AS inner_execution
    CROSS JOIN LATERAL generate_series(2, cardinality(inner_execution.parts)) AS depth
    JOIN placed AS outer_execution
        ON outer_execution.path = array_to_string(inner_execution.parts[1:depth], '/')
        AND outer_execution.id <> inner_execution.id
)
SELECT inner_id AS id, min(outer_id) AS other_id, 'directory' AS conflict FROM nested GROUP BY inner_id
UNION ALL
SELECT outer_id, min(inner_id), 'directory' FROM nested GROUP BY outer_id
UNION ALL
SELECT pending.id, min(other.id), 'uuid'
FROM pending
JOIN ejecuciones_yaml AS other ON other.uuid::text = pending.uuid AND other.id <> pending.id
GROUP BY pending.id
