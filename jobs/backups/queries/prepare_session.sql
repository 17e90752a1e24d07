-- What would end a session that waits while its snapshot is read, and what would change the texts of these queries.
SELECT pg_catalog.set_config(name, CASE name WHEN 'lock_timeout' THEN %(lock_timeout)s ELSE '0' END, false)
FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout', 'lock_timeout')
UNION ALL SELECT pg_catalog.set_config('standard_conforming_strings', 'on', false)
UNION ALL SELECT pg_catalog.set_config('client_encoding', pg_catalog.getdatabaseencoding(), false)
