-- The providers to which rows or attempts point.
SELECT DISTINCT nube_provider_id AS provider_id
FROM ejecuciones_yaml
WHERE migrado_a_nube AND nube_provider_id IS NOT NULL
UNION
SELECT DISTINCT provider_id FROM janitor_attempts
ORDER BY provider_id
