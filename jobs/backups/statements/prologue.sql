\set ON_ERROR_STOP on
SELECT 'COMMIT' WHERE NOT :'AUTOCOMMIT'::pg_catalog.bool \gexec
\set AUTOCOMMIT on
\set QUIET on
\o /dev/null
SET client_encoding = '{{encoding}}';
-- Before any operator is used: the owner of a schema may have made one of the same name.
SELECT pg_catalog.set_config('search_path', '', false);
{{session}}
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('transaction_timeout', 'idle_session_timeout');
SET client_min_messages = warning;
SET check_function_bodies = false;
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
-- Vanished rows come in the order of their table: finding one in a hundred by the key's index costs a tenth of reading all.
SET LOCAL random_page_cost = 1.1;
-- Another base, or a second time: nothing is changed. PGOPTIONS="-c janitor.force=on" leaves it to the counts below.
DO {{tag}} DECLARE held text;
BEGIN
  SELECT pg_catalog.substring(pg_catalog.shobj_description(d.oid, 'pg_database'), 'janitor\.backup=(\S+)') INTO held
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database();
  IF held IS DISTINCT FROM '{{base}}' AND pg_catalog.current_setting('janitor.force', true) IS DISTINCT FROM 'on' THEN
    RAISE EXCEPTION 'this differential belongs on the full backup {{base}}; this database holds %', COALESCE(held, 'none');
  END IF;
END {{tag}};
