-- The one moment in which the row points to the copy at the primary provider: everything below happens, or nothing does.
-- The old copy becomes a leftover, which the migration removes later under its own rules; not where anybody else's
-- objects were seen at its place.
WITH claimed AS (
    SELECT execution_id
    FROM janitor_migrations
    WHERE execution_id = %(execution_id)s
      AND fencing_token = %(execution_token)s
      AND state = 'migrated'
      AND host = ''
      AND provider_id = %(old_provider_id)s
      AND uri = %(old_uri)s
      AND NOT EXISTS (SELECT FROM janitor_holds AS hold WHERE hold.execution_id = janitor_migrations.execution_id)
    FOR UPDATE
),
moved AS (
    UPDATE ejecuciones_yaml
    SET ruta_nube = %(uri)s, nube_provider_id = %(provider_id)s
    WHERE id = %(execution_id)s
      AND migrado_a_nube
      AND uuid::text = %(uuid)s
      AND ruta_nube = %(old_uri)s
      AND nube_provider_id = %(old_provider_id)s
      AND EXISTS (SELECT FROM claimed)
    RETURNING id
),
migration AS (
    UPDATE janitor_migrations
    SET host = %(host)s,
        lease_expires_at = NULL,
        provider_id = %(provider_id)s,
        uri = %(uri)s,
        evidence = %(evidence)s,
        manifest_sha256 = %(manifest_sha256)s,
        listing_digest = %(listing_digest)s
    WHERE execution_id IN (SELECT id FROM moved)
),
attempt AS (
    UPDATE janitor_attempts
    SET state = CASE WHEN id = %(attempt_id)s THEN 'committed' ELSE 'settled' END, finished_at = now()
    WHERE execution_id IN (SELECT id FROM moved)
      AND provider_id = %(provider_id)s
      AND key_prefix = %(key_prefix)s
      AND state IN ('open', 'abandoned')
),
old_attempt AS (
    UPDATE janitor_attempts AS attempt
    SET state = CASE
            WHEN EXISTS (
                SELECT FROM janitor_attempts AS other
                WHERE other.execution_id = attempt.execution_id
                  AND other.provider_id = attempt.provider_id
                  AND other.key_prefix = attempt.key_prefix
                  AND other.foreign_objects
            ) THEN 'settled' ELSE 'abandoned' END,
        error_code = 'rehomed',
        error = NULL,
        finished_at = now()
    WHERE attempt.execution_id IN (SELECT id FROM moved)
      AND attempt.provider_id = %(old_provider_id)s
      AND attempt.key_prefix = %(old_key_prefix)s
      AND attempt.state = 'committed'
),
told AS (
    INSERT INTO janitor_audit (event, execution_id, uuid, host, details)
    SELECT
        'rehomed', id, %(uuid)s, %(host)s,
        jsonb_build_object(
            'from_uri', %(old_uri)s::text, 'from_provider_id', %(old_provider_id)s::integer,
            'from_committed_at', (
                SELECT max(attempt.finished_at)
                FROM janitor_attempts AS attempt
                WHERE attempt.execution_id = moved.id
                  AND attempt.provider_id = %(old_provider_id)s
                  AND attempt.key_prefix = %(old_key_prefix)s
                  AND attempt.state = 'committed'
            ),
            'to_uri', %(uri)s::text, 'to_provider_id', %(provider_id)s::integer
        )
    FROM moved
),
noted AS (
    INSERT INTO janitor_rehomes AS rehome
        (execution_id, execution_token, from_provider_id, from_uri, to_provider_id, was_copied, size_bytes, rehomed_at)
    SELECT
        id, %(execution_token)s, %(old_provider_id)s, %(old_uri)s, %(provider_id)s, %(was_copied)s, %(size_bytes)s, now()
    FROM moved
    ON CONFLICT (execution_id) DO UPDATE SET
        execution_token = excluded.execution_token, from_provider_id = excluded.from_provider_id,
        from_uri = excluded.from_uri, to_provider_id = excluded.to_provider_id, was_copied = excluded.was_copied,
        size_bytes = excluded.size_bytes, rehomed_at = now(), tries = 0, next_at = NULL, error_code = NULL, error = NULL
)
SELECT count(*) AS changed_rows FROM moved
