-- A subscription that was restored keeps its database from being dropped. Its slot is that of the original, and stays.
SELECT pg_catalog.current_database() AS usual, EXISTS (
  SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.subdbid
  WHERE d.datname OPERATOR(pg_catalog.=) '{{name}}') AS subscribes \gset
\if :subscribes
\connect {{name}}
SET search_path = '';
DO {{tag}} DECLARE made pg_catalog.name;
BEGIN
  FOR made IN SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
              WHERE d.datname = pg_catalog.current_database() LOOP
    EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I DISABLE', made);
    EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', made);
    EXECUTE pg_catalog.format('DROP SUBSCRIPTION %I', made);
  END LOOP;
END {{tag}};
\connect :"usual"
\endif
DROP DATABASE IF EXISTS {{name}} WITH (FORCE);
-- The roles that were made for it, and no other ones.
DO {{tag}} DECLARE made pg_catalog.name;
BEGIN
  FOR made IN SELECT r.rolname FROM pg_catalog.pg_roles r WHERE pg_catalog.shobj_description(r.oid, 'pg_authid') OPERATOR(pg_catalog.=) '{{name}}' LOOP
    EXECUTE pg_catalog.format('DROP ROLE %I', made);
  END LOOP;
END {{tag}};
