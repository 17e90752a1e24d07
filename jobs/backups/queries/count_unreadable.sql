-- What a backup reads and this role may not. `pg_dump` reads with row_security = off, which fails where a policy applies.
-- Large objects are not among what pg_read_all_data may read; later versions of the server than these may differ.
WITH unreadable AS (
  SELECT c.oid, '"' || pg_catalog.replace(n.nspname, '"', '""') || '"."' || pg_catalog.replace(c.relname, '"', '""') || '"' AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
    AND (n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
         OR EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)))
    AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE')
             AND CASE c.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
                 ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') AND NOT pg_catalog.row_security_active(c.oid) END)
), unreadable_objects AS (
  SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m
  WHERE pg_catalog.current_setting('server_version_num')::integer < 190000
    AND pg_catalog.current_setting('lo_compat_privileges') = 'off'
    AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a
                    WHERE a.privilege_type = 'SELECT'
                      AND CASE a.grantee WHEN 0 THEN true ELSE pg_catalog.pg_has_role(a.grantee, 'USAGE') END)
)
SELECT pg_catalog.convert_to(pg_catalog.quote_ident(current_user), pg_catalog.getdatabaseencoding()),
       (SELECT pg_catalog.count(*) FROM unreadable),
       (SELECT pg_catalog.convert_to(name, pg_catalog.getdatabaseencoding()) FROM unreadable ORDER BY oid LIMIT 1),
       (SELECT pg_catalog.count(*) FROM unreadable_objects),
       (SELECT pg_catalog.min(oid)::bigint FROM unreadable_objects)
