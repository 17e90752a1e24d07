-- What another session may rename although every table is locked. pg_dump asks for tables by their present names, and
-- writes present labels, whatever its snapshot shows.
SELECT n.tableoid::bigint, n.oid::bigint, pg_catalog.convert_to(n.nspname, pg_catalog.getdatabaseencoding())
FROM pg_catalog.pg_namespace n WHERE n.nspname NOT LIKE 'pg\_%'
UNION ALL SELECT e.tableoid::bigint, e.oid::bigint, pg_catalog.convert_to(e.enumlabel, pg_catalog.getdatabaseencoding()) FROM pg_catalog.pg_enum e
