-- The one moment in which an execution becomes migrated: everything below happens, or nothing does.
WITH claimed AS (
    SELECT execution_id, executed_at
    FROM janitor_migrations
    WHERE execution_id = %(execution_id)s AND fencing_token = %(fencing_token)s AND state = 'migrating'
    FOR UPDATE
),
moved AS (
    UPDATE ejecuciones_yaml
    SET migrado_a_nube = true, ruta_nube = %(uri)s, nube_provider_id = %(provider_id)s
    WHERE id = %(execution_id)s
      AND migrado_a_nube IS NOT TRUE
      AND uuid::text = %(uuid)s
      AND ruta_directorio = %(directory)s
      AND EXISTS (
          SELECT FROM claimed
          WHERE claimed.executed_at IS NOT DISTINCT FROM ejecuciones_yaml.fecha_ejecucion::timestamptz
      )
    RETURNING id
),
migration AS (
    UPDATE janitor_migrations
    SET state = 'migrated',
        local_copy = %(local_copy)s,
        lease_expires_at = CASE WHEN %(local_copy)s = 'kept' THEN NULL ELSE lease_expires_at END,
        error_code = NULL,
        error = NULL,
        failed_runs = 0,
        provider_id = %(provider_id)s,
        uri = %(uri)s,
        file_count = %(file_count)s,
        size_bytes = %(size_bytes)s,
        evidence = %(evidence)s,
        manifest_sha256 = %(manifest_sha256)s,
        listing_digest = %(listing_digest)s,
        migrated_at = now()
    WHERE execution_id IN (SELECT id FROM moved)
),
attempt AS (
    -- Earlier attempts at the same place are part of this copy now; when they failed is still worth knowing.
    UPDATE janitor_attempts
    SET state = CASE WHEN id = %(attempt_id)s THEN 'committed' ELSE 'settled' END,
        finished_at = coalesce(finished_at, now())
    WHERE execution_id IN (SELECT id FROM moved)
      AND provider_id = %(provider_id)s
      AND key_prefix = %(key_prefix)s
      AND state IN ('open', 'abandoned')
)
SELECT count(*) AS changed_rows FROM moved
