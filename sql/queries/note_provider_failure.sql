-- A provider failed as a whole. After the first failure the next run probes it; then pauses of a quarter of an hour
-- follow that double up to six hours. Of hosts that find out at once, one lengthens the pause: failures says what was
-- known before. Other settings begin a new history.
INSERT INTO janitor_provider_health AS health
    (provider_id, settings, error_code, error, needs_a_person, host)
VALUES (%(provider_id)s, %(settings)s, %(error_code)s, %(error)s, %(needs_a_person)s, %(host)s)
ON CONFLICT (provider_id) DO UPDATE SET
    settings = excluded.settings,
    since = CASE WHEN health.settings = excluded.settings THEN health.since ELSE now() END,
    failures = CASE WHEN health.settings = excluded.settings THEN health.failures + 1 ELSE 1 END,
    until = now() + CASE
        WHEN health.settings = excluded.settings AND %(has_pauses)s
        THEN least(interval '15 minutes' * power(2, least(health.failures - 1, 9)), interval '6 hours')
        ELSE interval '0'
    END,
    error_code = excluded.error_code,
    error = excluded.error,
    needs_a_person = excluded.needs_a_person,
    host = excluded.host,
    noted_at = now()
WHERE health.settings <> excluded.settings OR health.failures <= %(known_failures)s
RETURNING until, until > now() AS is_paused
