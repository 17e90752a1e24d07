-- What would end a session that waits while its snapshot is read, what would change the texts of these queries, and what
-- would let a count take more than one processor, or see some rows only. A server that can looks every second whether this
-- program still is there.
SELECT pg_catalog.set_config(name, CASE name WHEN 'lock_timeout' THEN %(lock_timeout)s
                                        WHEN 'client_connection_check_interval' THEN CASE WHEN pg_catalog.version() LIKE '%%linux%%' THEN '1s' ELSE '0' END
                                        ELSE '0' END, false)
FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout', 'lock_timeout',
               'client_connection_check_interval', 'max_parallel_workers_per_gather', 'jit', 'synchronize_seqscans', 'row_security')
UNION ALL SELECT pg_catalog.set_config('standard_conforming_strings', 'on', false)
UNION ALL SELECT pg_catalog.set_config('client_encoding', pg_catalog.getdatabaseencoding(), false)
