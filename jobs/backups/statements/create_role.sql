DO {{tag}} BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {{name}}) THEN
    EXECUTE pg_catalog.format('CREATE ROLE %I', {{name}});
  END IF;
END {{tag}};
