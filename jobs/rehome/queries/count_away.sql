-- How much is not at the primary provider, by provider, up to a number of executions at each: it is counted by the index
-- of providers, whose values are found one after the other.
WITH RECURSIVE known AS (
    (
        SELECT provider_id
        FROM janitor_migrations
        WHERE state = 'migrated' AND provider_id IS NOT NULL
        ORDER BY provider_id
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT migration.provider_id
        FROM janitor_migrations AS migration
        WHERE migration.state = 'migrated' AND migration.provider_id > known.provider_id
        ORDER BY migration.provider_id
        LIMIT 1
    )
    FROM known
    WHERE known.provider_id IS NOT NULL
)
SELECT
    known.provider_id,
    least(count(*), %(count_to)s) AS executions,
    coalesce(sum(away.size_bytes) FILTER (WHERE away.number <= %(count_to)s), 0)::bigint AS size_bytes,
    count(*) > %(count_to)s AS is_cut
FROM known
CROSS JOIN LATERAL (
    SELECT migration.size_bytes, row_number() OVER (ORDER BY migration.provider_id, migration.execution_id) AS number
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.provider_id BETWEEN known.provider_id AND known.provider_id
      AND migration.state = 'migrated'
      AND migration.local_copy <> 'deleting'
      AND migration.manifest_sha256 IS NOT NULL
      AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = migration.execution_id)
      AND execution.migrado_a_nube
      AND execution.uuid::text = migration.uuid
      AND execution.ruta_nube = migration.uri
      AND execution.nube_provider_id = migration.provider_id
    ORDER BY migration.provider_id, migration.execution_id
    LIMIT %(count_to)s + 1
) AS away
WHERE known.provider_id <> %(home_id)s
GROUP BY known.provider_id
ORDER BY known.provider_id
