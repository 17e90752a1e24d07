-- How the database orders text and writes values. Columns of pg_database have other names in other versions.
SELECT COALESCE(d.described ->> 'datlocprovider', 'c'), d.described ->> 'datcollate', d.described ->> 'datctype',
       COALESCE(d.described ->> 'datlocale', d.described ->> 'daticulocale'), d.described ->> 'daticurules',
       pg_catalog.current_setting('bytea_output'),
       CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
                         WHERE c.oid >= 16384 AND NOT a.attisdropped AND a.atttypid IN (
                           WITH RECURSIVE made (oid) AS (  -- arrays, domains and ranges of amounts, and those of these
                             SELECT 'pg_catalog.money'::pg_catalog.regtype::oid
                             UNION SELECT t.oid FROM made, LATERAL (
                               SELECT p.oid FROM pg_catalog.pg_type p WHERE made.oid IN (p.typelem, p.typbasetype)
                               UNION ALL SELECT g.made FROM pg_catalog.pg_range r, pg_catalog.to_jsonb(r) j,
                                 LATERAL (VALUES (r.rngtypid), ((j ->> 'rngmultitypid')::oid)) g (made)
                               WHERE r.rngsubtype = made.oid) t)
                           SELECT made.oid FROM made))
            THEN pg_catalog.current_setting('lc_monetary') END
FROM (SELECT pg_catalog.to_jsonb(found) AS described FROM pg_catalog.pg_database found
      WHERE found.datname = pg_catalog.current_database()) d
