-- Default privileges (ALTER DEFAULT PRIVILEGES) come to what is made again, whether it had them or not. Where there are
-- any, the rights of each object are listed, also the usual ones; `holders` are those who have some right after it was made.
WITH d AS (
  SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE '"' || pg_catalog.replace(pg_catalog.pg_get_userbyid(a.grantee), '"', '""') || '"' END AS holder
  FROM pg_catalog.pg_default_acl p, pg_catalog.aclexplode(p.defaclacl) a WHERE p.defaclobjtype = 'L')
SELECT m.oid::bigint, pg_catalog.convert_to(o.owner, pg_catalog.getdatabaseencoding()),
       pg_catalog.convert_to(pg_catalog.quote_nullable(pg_catalog.obj_description(m.oid, 'pg_largeobject')), pg_catalog.getdatabaseencoding()),
       pg_catalog.convert_to(pg_catalog.concat_ws(', ', o.owner, (SELECT pg_catalog.string_agg(d.holder, ', ') FROM d)), pg_catalog.getdatabaseencoding()),
       m.lomacl IS NOT NULL OR EXISTS (SELECT FROM d),
       ARRAY(SELECT pg_catalog.encode(pg_catalog.convert_to(
               a.privilege_type || ' ON LARGE OBJECT ' || m.oid || ' TO '
               || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE '"' || pg_catalog.replace(pg_catalog.pg_get_userbyid(a.grantee), '"', '""') || '"' END
               || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, pg_catalog.getdatabaseencoding()), 'hex')
             FROM pg_catalog.aclexplode(COALESCE(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) a),
       pg_catalog.lo_get(m.oid, 0, 1048576)
FROM pg_catalog.pg_largeobject_metadata m,
  LATERAL (SELECT '"' || pg_catalog.replace(pg_catalog.pg_get_userbyid(m.lomowner), '"', '""') || '"') AS o (owner)
ORDER BY m.oid
