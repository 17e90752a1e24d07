
-- Which backup this database was restored from, in its comment, which its owner may write. A differential looks for it.
-- What pg_dump wrote before it may have turned standard_conforming_strings off.
DO {{tag}} DECLARE old text;
BEGIN
  SELECT pg_catalog.regexp_replace(COALESCE(pg_catalog.shobj_description(d.oid, 'pg_database'), ''), E'\\s*janitor\\.backup=\\S*', '') INTO old
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database();
  EXECUTE pg_catalog.format('COMMENT ON DATABASE %I IS %L', pg_catalog.current_database(), pg_catalog.ltrim(old || ' janitor.backup={{id}}'));
EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING 'not the owner of the database: no differential will know it';
END {{tag}};
