-- The whole row as JSON: older installations lack columns, and newer ones have more.
SELECT to_jsonb(config) AS policy
FROM ejecuciones_config AS config
ORDER BY config.id DESC
LIMIT 1
