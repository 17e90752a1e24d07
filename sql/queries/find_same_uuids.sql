-- Uuids of executions still to be migrated that more than one row has, migrated or not, each with two of the rows.
SELECT uuid::text AS uuid, min(id) AS first_id, max(id) AS last_id
FROM ejecuciones_yaml
WHERE uuid::text IN (SELECT uuid::text FROM ejecuciones_yaml WHERE migrado_a_nube IS NOT TRUE)
GROUP BY uuid::text
HAVING count(*) > 1
