-- Janitor FULL {{id}}
\set ON_ERROR_STOP on
-- What a ~/.psqlrc has begun without AUTOCOMMIT would stay open, and all of this would be undone at the end.
SELECT 'COMMIT' WHERE NOT :'AUTOCOMMIT'::pg_catalog.bool \gexec
\set AUTOCOMMIT on
