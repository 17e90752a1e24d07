-- Some of the newest copies that rows say are stored at these providers, and that were stored in this store. A bounded
-- number of rows is read, however many copies there are, and however many are in another store.
SELECT migration.uri
FROM unnest(%(provider_ids)s::integer[]) AS provider (id)
CROSS JOIN LATERAL (
    SELECT execution_id, provider_id, uri
    FROM janitor_migrations
    WHERE provider_id = provider.id AND state = 'migrated'
    ORDER BY execution_id DESC
    LIMIT %(looked_at)s
) AS migration
JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
WHERE execution.migrado_a_nube
  AND execution.ruta_nube = migration.uri
  AND execution.nube_provider_id = migration.provider_id
  AND EXISTS (
        SELECT FROM janitor_attempts AS attempt
        WHERE attempt.execution_id = migration.execution_id
          AND attempt.provider_id = migration.provider_id
          AND attempt.state = 'committed'
          AND attempt.store = %(store)s
    )
LIMIT %(most)s
