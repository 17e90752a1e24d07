DO {{tag}} BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {{name}}) THEN
    EXECUTE pg_catalog.format('CREATE ROLE %I', {{name}});
    EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', {{name}}, {{mark}});
  END IF;
END {{tag}};
