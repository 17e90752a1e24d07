-- How the database orders text and writes values. Columns of pg_database have other names in other versions.
SELECT COALESCE(d.described ->> 'datlocprovider', 'c'), d.described ->> 'datcollate', d.described ->> 'datctype',
       COALESCE(d.described ->> 'datlocale', d.described ->> 'daticulocale'), d.described ->> 'daticurules',
       pg_catalog.current_setting('bytea_output'),
       CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
                         LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                         WHERE c.oid >= 16384 AND NOT a.attisdropped
                           AND 'pg_catalog.money'::pg_catalog.regtype IN (a.atttypid, t.typelem, t.typbasetype))
            THEN pg_catalog.current_setting('lc_monetary') END
FROM (SELECT pg_catalog.to_jsonb(found) AS described FROM pg_catalog.pg_database found
      WHERE found.datname = pg_catalog.current_database()) d
