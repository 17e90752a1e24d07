-- How much the rows of each table take.
SELECT c.oid::bigint, pg_catalog.pg_relation_size(c.oid) + COALESCE(pg_catalog.pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0)
FROM pg_catalog.pg_class c
WHERE c.oid = ANY (%(oids)s::bigint[]::pg_catalog.oid[])
