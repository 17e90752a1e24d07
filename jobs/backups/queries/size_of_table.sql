-- How much the rows of a table take.
SELECT pg_catalog.pg_table_size(%(oid)s::pg_catalog.oid::pg_catalog.regclass)
