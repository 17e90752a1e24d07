-- Written before the first remote byte, only by the claim's holder, only while the row is as claimed, and only if no
-- other execution has a copy, or may have sent objects, at this place or above or below it. Attempts in elsewhere are
-- known to be in another store. Two runs that ask for one place at once take turns; the second sees the first's row.
SELECT pg_advisory_xact_lock(hashtextextended('janitor place ' || lower(%(key_prefix)s), 0));
WITH held AS (
    SELECT migration.execution_id, migration.last_held_at
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.execution_id = %(execution_id)s
      AND migration.fencing_token = %(fencing_token)s
      AND migration.state = 'migrating'
      AND execution.migrado_a_nube IS NOT TRUE
      AND execution.uuid::text = migration.uuid
      AND execution.ruta_directorio IS NOT DISTINCT FROM migration.directory
      AND execution.fecha_ejecucion::timestamptz IS NOT DISTINCT FROM migration.executed_at
    UNION ALL
    -- A copy that the job rehome moves to another provider, as its claim's empty host says: the row stays migrated.
    SELECT migration.execution_id, migration.last_held_at
    FROM janitor_migrations AS migration
    JOIN ejecuciones_yaml AS execution ON execution.id = migration.execution_id
    WHERE migration.fencing_token = %(fencing_token)s
      AND migration.execution_id = %(execution_id)s
      AND migration.state = 'migrated'
      AND migration.host = ''
      AND migration.lease_expires_at > now()
      AND migration.uuid = execution.uuid::text
      AND execution.migrado_a_nube
      AND execution.ruta_nube = migration.uri
      AND execution.nube_provider_id = migration.provider_id
),
overlapping AS (
    SELECT attempt.id, attempt.execution_id, attempt.provider_id, attempt.store, attempt.key_prefix
    FROM janitor_attempts AS attempt
    WHERE (
            attempt.place = lower(%(key_prefix)s)
            OR attempt.place = ANY(ARRAY(SELECT lower(above) FROM unnest(%(places_above)s::text[]) AS above))
            OR (attempt.place > lower(%(key_prefix)s) || '/' AND attempt.place < lower(%(key_prefix)s) || '0')
        )
      AND attempt.execution_id <> %(execution_id)s
      AND attempt.id <> ALL(%(elsewhere)s::bigint[])
      AND NOT (
            -- A row deleted and added again under another id: the objects there are compared by their bytes.
            attempt.state = 'committed'
            AND attempt.place = lower(%(key_prefix)s)
            AND NOT EXISTS (SELECT FROM ejecuciones_yaml WHERE id = attempt.execution_id)
        )
      AND (
            attempt.state = 'committed'
            OR (attempt.state IN ('open', 'abandoned') AND attempt.foreign_objects IS NOT NULL)
            OR (
                attempt.state = 'open'
                AND EXISTS (
                    SELECT FROM janitor_migrations AS other
                    WHERE other.execution_id = attempt.execution_id
                      AND other.fencing_token = attempt.fencing_token
                      AND other.lease_expires_at > now()
                )
            )
        )
    ORDER BY attempt.state = 'committed' DESC, attempt.id
    LIMIT 100
),
closed AS (
    SELECT max(closed_until) AS until
    FROM janitor_attempts
    WHERE place = lower(%(key_prefix)s)
      AND (store = %(store)s OR store = '' OR %(store)s = '')
      AND closed_until > now()
      AND closed_by <> %(run_id)s
),
late_bytes AS (
    -- An attempt with unanswered requests may have bytes in flight, of files that have changed since.
    SELECT max(life.last_sign + make_interval(secs => %(late_seconds)s)) AS until
    FROM janitor_attempts AS attempt
    JOIN held ON held.execution_id = attempt.execution_id
    CROSS JOIN LATERAL (
        SELECT CASE attempt.state WHEN 'open' THEN held.last_held_at ELSE attempt.finished_at END AS last_sign
    ) AS life
    WHERE attempt.place = lower(%(key_prefix)s)
      AND (attempt.store = %(store)s OR attempt.store = '' OR %(store)s = '')
      AND attempt.state IN ('open', 'abandoned')
      AND attempt.foreign_objects IS NOT NULL
      AND attempt.tree_fingerprint <> %(fingerprint)s
      AND life.last_sign + make_interval(secs => %(late_seconds)s) > now()
      AND NOT %(late_bytes_are_harmless)s
),
claimed AS (
    UPDATE janitor_migrations
    SET attempts = attempts + 1
    WHERE execution_id IN (SELECT execution_id FROM held)
      AND NOT EXISTS (SELECT FROM overlapping)
      AND (SELECT until FROM closed) IS NULL
      AND (SELECT until FROM late_bytes) IS NULL
    RETURNING execution_id
),
earlier AS (
    SELECT
        count(*) FILTER (WHERE foreign_objects IS NOT NULL) AS count,
        coalesce(bool_or(foreign_objects), false) AS foreign_objects,
        coalesce(bool_or(state = 'committed'), false) AS committed
    FROM janitor_attempts
    WHERE execution_id = %(execution_id)s
      AND provider_id = %(provider_id)s
      AND key_prefix = %(key_prefix)s
      AND (store = %(store)s OR store = '' OR %(store)s = '')
),
recorded AS (
    -- In this store, through any provider row: what was sent elsewhere has not written what is here. A database that
    -- was set back to a backup gives numbers anew that attempts elsewhere had since then.
    SELECT max(id) AS last_id
    FROM janitor_attempts
    WHERE execution_id = %(execution_id)s
      AND key_prefix = %(key_prefix)s
      AND (store = %(store)s OR store = '' OR %(store)s = '')
      AND (provider_id = %(provider_id)s OR store <> '')
      AND (state = 'committed' OR foreign_objects IS FALSE)
),
opened AS (
    INSERT INTO janitor_attempts
        (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, store, tree_fingerprint)
    SELECT
        execution_id, %(run_id)s, %(host)s, %(fencing_token)s, %(provider_id)s, %(key_prefix)s, 'open', %(store)s,
        %(fingerprint)s
    FROM claimed
    RETURNING id
)
SELECT
    (SELECT id FROM opened) AS id,
    (SELECT count FROM earlier) AS earlier_attempts_here,
    (SELECT foreign_objects FROM earlier) AS foreign_objects_here,
    (SELECT committed FROM earlier) AS committed_here,
    (SELECT last_id FROM recorded) AS last_recorded,
    (
        SELECT manifest_sha256 FROM janitor_migrations WHERE execution_id = %(execution_id)s
    ) AS committed_manifest_sha256,
    EXISTS (SELECT FROM held) AS held,
    (SELECT until FROM closed) AS closed_until,
    (SELECT until FROM late_bytes) AS late_bytes_until,
    (SELECT coalesce(json_agg(overlapping), '[]') FROM overlapping) AS overlapping
