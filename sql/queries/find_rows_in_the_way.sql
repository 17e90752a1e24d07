-- Executions still to be migrated whose directory equals, contains or is inside one that this host removes now, or may
-- remove before the next look: that one then belongs to another execution. Each directory is expanded into its
-- ancestors, so the join is on equal paths, however many rows there are. Paths are compared without doubled and final
-- slashes.
WITH pending AS (
    SELECT id, uuid::text AS uuid, ruta_directorio, parts, array_to_string(parts, '/') AS path
    FROM (
        SELECT id, uuid, ruta_directorio, array_remove(string_to_array(ruta_directorio, '/'), '') AS parts
        FROM ejecuciones_yaml
        WHERE migrado_a_nube IS NOT TRUE AND ruta_directorio LIKE '/%%'
    ) AS divided
),
removal AS (
    SELECT execution_id, parts, array_to_string(parts, '/') AS path
    FROM (
        SELECT execution_id, array_remove(string_to_array(directory, '/'), '') AS parts
        FROM janitor_migrations
        WHERE local_copy = 'deleting' AND host = %(host)s
        UNION
        SELECT execution_id, array_remove(string_to_array(directory, '/'), '')
        FROM janitor_migrations
        WHERE run_id = %(run_id)s AND lease_expires_at IS NOT NULL AND state = 'migrating'
    ) AS divided
),
above_removal AS (
    SELECT execution_id, array_to_string(parts[:depth], '/') AS path
    FROM removal CROSS JOIN generate_series(1, cardinality(parts)) AS depth
),
above_pending AS (
    SELECT id, uuid, ruta_directorio, array_to_string(parts[:depth], '/') AS path
    FROM pending CROSS JOIN generate_series(1, cardinality(parts) - 1) AS depth
    WHERE EXISTS (SELECT FROM removal)
)
SELECT above_removal.execution_id, pending.id, pending.uuid, pending.ruta_directorio
FROM above_removal
JOIN pending ON pending.path = above_removal.path
WHERE pending.id <> above_removal.execution_id
UNION
SELECT removal.execution_id, above_pending.id, above_pending.uuid, above_pending.ruta_directorio
FROM removal
JOIN above_pending ON above_pending.path = removal.path
WHERE above_pending.id <> removal.execution_id
ORDER BY 1, 2
