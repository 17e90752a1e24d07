DO {{tag}} DECLARE wanted pg_catalog.name;
BEGIN
  wanted := pg_catalog.convert_from(pg_catalog.decode('{{name}}', 'hex'), pg_catalog.getdatabaseencoding());
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) wanted) THEN
    EXECUTE pg_catalog.format('CREATE ROLE %I', wanted);
    EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', wanted, {{mark}});
  END IF;
EXCEPTION WHEN character_not_in_repertoire THEN NULL;  -- the name of nobody who owns anything in a database of this encoding
END {{tag}};
