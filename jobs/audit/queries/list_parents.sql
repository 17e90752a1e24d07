-- The prefixes below which this database has stored executions at a provider: a place without its last part.
SELECT DISTINCT regexp_replace(key_prefix, '/[^/]*$', '') AS parent
FROM janitor_attempts
WHERE provider_id = %(provider_id)s AND key_prefix LIKE '%%/%%'
ORDER BY parent
