DROP DATABASE IF EXISTS {{name}} WITH (FORCE);
-- The roles that were made for it, and no other ones.
DO {{tag}} DECLARE made pg_catalog.name;
BEGIN
  FOR made IN SELECT r.rolname FROM pg_catalog.pg_roles r WHERE pg_catalog.shobj_description(r.oid, 'pg_authid') OPERATOR(pg_catalog.=) '{{name}}' LOOP
    EXECUTE pg_catalog.format('DROP ROLE %I', made);
  END LOOP;
END {{tag}};
