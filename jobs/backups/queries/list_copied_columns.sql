-- Of each table that is counted by COPY a column with short values. To plan a query of a table the server runs functions
-- that its owner has chosen, those in its indexes, with the rights of this session. COPY plans nothing. The others belong
-- to roles that have those rights anyway. Generated columns may have no value to copy. A role that may write the server's
-- files need not be sent the values.
SELECT c.oid::bigint,
       (SELECT pg_catalog.convert_to('("' || pg_catalog.replace(a.attname, '"', '""') || '")', pg_catalog.getdatabaseencoding())
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        ORDER BY a.attlen < 0, a.attlen, a.attnum LIMIT 1),
       pg_catalog.version() LIKE '%linux%' AND pg_catalog.pg_has_role(session_user, 'pg_write_server_files', 'USAGE')
FROM pg_catalog.pg_class c
WHERE c.relkind = 'r' AND NOT pg_catalog.pg_has_role(c.relowner, session_user, 'MEMBER')
