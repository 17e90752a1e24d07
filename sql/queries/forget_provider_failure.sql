-- A failure that somebody has noted since then stays: known_failures says how many the caller knows of.
DELETE FROM janitor_provider_health
WHERE provider_id = %(provider_id)s AND failures <= %(known_failures)s
RETURNING since
