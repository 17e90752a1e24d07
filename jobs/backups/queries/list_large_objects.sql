SELECT m.oid::bigint, pg_catalog.convert_to('"' || pg_catalog.replace(pg_catalog.pg_get_userbyid(m.lomowner), '"', '""') || '"', pg_catalog.getdatabaseencoding()),
       pg_catalog.convert_to(pg_catalog.quote_nullable(pg_catalog.obj_description(m.oid, 'pg_largeobject')), pg_catalog.getdatabaseencoding()),
       m.lomacl IS NOT NULL,
       ARRAY(SELECT pg_catalog.encode(pg_catalog.convert_to(
               a.privilege_type || ' ON LARGE OBJECT ' || m.oid || ' TO '
               || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE '"' || pg_catalog.replace(pg_catalog.pg_get_userbyid(a.grantee), '"', '""') || '"' END
               || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, pg_catalog.getdatabaseencoding()), 'hex')
             FROM pg_catalog.aclexplode(m.lomacl) a),
       pg_catalog.lo_get(m.oid, 0, 1048576)
FROM pg_catalog.pg_largeobject_metadata m ORDER BY m.oid
