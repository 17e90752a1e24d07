-- Those that the tables and indexes of this database name, as bytes like the names of roles.
SELECT pg_catalog.textsend(t.spcname::text) FROM pg_catalog.pg_tablespace t
WHERE t.spcname NOT LIKE 'pg\_%' AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.reltablespace = t.oid)
ORDER BY 1
