-- Failed attempts at a place that their execution no longer uses: it has since been migrated elsewhere, as its row
-- still says, or its row is gone or has another uuid. Excludes places that equal, contain or are inside another
-- execution's, in any store, and attempts whose removal was refused several times, until their pause is over. A claim of
-- the job rehome has no host; if its run was killed, the job continues with what that run stored, unless it is off. A
-- place was given up unless the row is stored under the same uuid.
SELECT
    attempt.id AS attempt_id, attempt.execution_id, migration.uuid, attempt.provider_id, attempt.key_prefix,
    attempt.store, attempt.host, migration.directory,
    coalesce(attempt.foreign_objects, true) AS foreign_objects, -- no run has looked: nothing was sent
    (
        SELECT max(here.id)
        FROM janitor_attempts AS here
        WHERE here.execution_id = attempt.execution_id
          AND here.provider_id = attempt.provider_id
          AND here.key_prefix = attempt.key_prefix
          AND here.store = attempt.store
          AND here.foreign_objects IS FALSE
    ) AS last_recorded,
    (
        execution.migrado_a_nube IS NOT TRUE
        OR substring(attempt.key_prefix from '[^/]*$') IS DISTINCT FROM substring(migration.uri from '[^/]*$')
    ) AS is_given_up,
    migration.provider_id AS migrated_provider_id, migration.uri AS migrated_uri,
    migration.manifest_sha256 AS migrated_manifest_sha256, migration.listing_digest AS migrated_listing_digest,
    janitor_is_known_bad(migration.execution_id, migration.provider_id, migration.uri) AS migrated_is_known_bad
FROM janitor_attempts AS attempt
JOIN janitor_migrations AS migration ON migration.execution_id = attempt.execution_id
LEFT JOIN ejecuciones_yaml AS execution ON execution.id = attempt.execution_id
WHERE attempt.state IN ('open', 'abandoned')
  AND (
        (
            execution.migrado_a_nube
            AND execution.ruta_nube = migration.uri
            AND execution.nube_provider_id = migration.provider_id
            AND (
                migration.lease_expires_at IS NULL
                OR migration.host = %(host)s
                OR (migration.host = '' AND migration.lease_expires_at < now() - interval '1 day')
            )
        )
        OR (
            (
                execution.id IS NULL
                OR (
                    execution.migrado_a_nube IS NOT TRUE
                    AND right(attempt.key_prefix, length(execution.uuid::text) + 1) <> '/' || execution.uuid::text
                )
            )
            AND (
                migration.lease_expires_at IS NULL
                OR migration.lease_expires_at < now()
                OR (migration.host = %(host)s AND migration.run_id <> %(run_id)s)
            )
        )
    )
  AND NOT EXISTS (
        SELECT FROM janitor_attempts AS other
        WHERE other.place = attempt.place
          AND other.execution_id <> attempt.execution_id
          AND (other.state = 'committed' OR (other.state <> 'settled' AND other.foreign_objects IS NOT NULL))
    )
  AND NOT EXISTS (
        SELECT FROM janitor_attempts AS other
        WHERE other.place > attempt.place || '/' AND other.place < attempt.place || '0'
          AND other.execution_id <> attempt.execution_id
          AND (other.state = 'committed' OR (other.state <> 'settled' AND other.foreign_objects IS NOT NULL))
    )
  AND NOT EXISTS (
        SELECT FROM generate_series(1, cardinality(string_to_array(attempt.place, '/')) - 1) AS depth
        JOIN janitor_attempts AS other
            ON other.place = array_to_string((string_to_array(attempt.place, '/'))[:depth], '/')
        WHERE other.execution_id <> attempt.execution_id
          AND (other.state = 'committed' OR (other.state <> 'settled' AND other.foreign_objects IS NOT NULL))
    )
  AND coalesce(attempt.removal_next_at <= now(), true)
  AND attempt.id > %(after_id)s
ORDER BY attempt.id
LIMIT %(page_size)s
