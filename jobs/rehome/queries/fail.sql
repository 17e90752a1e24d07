-- The end of a move that failed: the copy is where it was. After the first failure the next run tries again, then there
-- are pauses of 1, 2, 4 and so on, at most 48 hours.
WITH released AS (
    UPDATE janitor_migrations
    SET lease_expires_at = NULL, host = %(host)s
    WHERE execution_id = %(execution_id)s AND fencing_token = %(execution_token)s AND state = 'migrated' AND host = ''
    RETURNING execution_id
)
INSERT INTO janitor_rehomes AS rehome
    (execution_id, execution_token, from_provider_id, from_uri, to_provider_id, tries, error_code, error)
SELECT
    execution_id, %(execution_token)s, %(old_provider_id)s, %(old_uri)s, %(provider_id)s, 1, %(error_code)s, %(error)s
FROM released
ON CONFLICT (execution_id) DO UPDATE SET
    execution_token = excluded.execution_token,
    from_provider_id = excluded.from_provider_id,
    from_uri = excluded.from_uri,
    to_provider_id = excluded.to_provider_id,
    tries = rehome.tries + 1,
    next_at = CASE
        WHEN rehome.tries < 1 THEN NULL
        ELSE now() + least(interval '1 hour' * power(2, least(rehome.tries - 1, 6)), interval '48 hours')
    END,
    error_code = excluded.error_code,
    error = excluded.error
WHERE rehome.execution_token <> excluded.execution_token
RETURNING next_at
