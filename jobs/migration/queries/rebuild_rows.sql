-- Rows for copies whose rows are lost, with the records that a migration leaves, all of a page or none. What has a row by
-- now is left out. The evidence stays empty: names and sizes were compared, no bytes. json_populate_record gives each
-- value the type that its column has here.
SELECT pg_advisory_xact_lock(hashtextextended('janitor rebuild', 0));
WITH wanted AS (
    SELECT *
    FROM json_to_recordset(%(copies)s::json) AS copy (
        uuid text, directory text, uri text, key_prefix text, file_count bigint, size_bytes bigint, manifest_sha256 text,
        executed_at timestamptz
    )
),
lost AS (
    SELECT *
    FROM wanted
    WHERE NOT EXISTS (SELECT FROM ejecuciones_yaml AS present WHERE present.uuid::text = wanted.uuid)
      AND NOT EXISTS (SELECT FROM ejecuciones_yaml AS present WHERE present.ruta_nube = wanted.uri)
),
written AS (
    INSERT INTO ejecuciones_yaml
        (uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube, ruta_nube, nube_provider_id)
    SELECT
        typed.uuid, typed.ruta_directorio, typed.fecha_ejecucion, true, typed.ruta_nube, typed.nube_provider_id
    FROM lost
    CROSS JOIN LATERAL json_populate_record(
        NULL::ejecuciones_yaml,
        json_build_object(
            'uuid', lost.uuid, 'ruta_directorio', lost.directory, 'ruta_nube', lost.uri,
            'nube_provider_id', %(provider_id)s::bigint, 'fecha_ejecucion', lost.executed_at
        )
    ) AS typed
    RETURNING id, uuid::text AS uuid
),
migration AS (
    INSERT INTO janitor_migrations AS earlier
        (execution_id, uuid, state, host, run_id, fencing_token, attempts, provider_id, uri, directory, file_count,
         size_bytes, manifest_sha256, migrated_at)
    SELECT
        written.id, lost.uuid, 'migrated', %(host)s, 0, 1, 1, %(provider_id)s, lost.uri, lost.directory, lost.file_count,
        lost.size_bytes, lost.manifest_sha256, now()
    FROM written JOIN lost USING (uuid)
    ON CONFLICT (execution_id) DO UPDATE SET -- of a row that had this id before
        uuid = excluded.uuid, state = excluded.state, local_copy = excluded.local_copy, host = excluded.host,
        run_id = excluded.run_id, fencing_token = earlier.fencing_token + 1, lease_expires_at = NULL,
        attempts = excluded.attempts, error_code = NULL, error = NULL, provider_id = excluded.provider_id,
        uri = excluded.uri, directory = excluded.directory, file_count = excluded.file_count,
        size_bytes = excluded.size_bytes, evidence = NULL, manifest_sha256 = excluded.manifest_sha256, listing_digest = NULL,
        migrated_at = excluded.migrated_at, executed_at = NULL, set_aside_inode = NULL, emptied_in = NULL,
        failed_runs = 0, next_try_at = NULL, quarantined_at = NULL
),
attempt AS (
    INSERT INTO janitor_attempts
        (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, foreign_objects, store, finished_at)
    SELECT written.id, 0, %(host)s, 1, %(provider_id)s, lost.key_prefix, 'committed', true, %(store)s, now()
    FROM written JOIN lost USING (uuid)
)
SELECT uuid FROM written
