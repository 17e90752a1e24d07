-- An owner may have taken rights from itself. It gets them back for the length of a restore, which needs them unless a
-- superuser restores; in a dump by pg_dump alone they are taken at its end.
DO {{tag}} DECLARE r record; undo text := '';
BEGIN
  FOR r IN
    WITH owned (kind, letter, name, owner, rights, relation) AS (
      SELECT 'SCHEMA', 'n'::"char", pg_catalog.quote_ident(nspname), nspowner, nspacl, NULL::oid FROM pg_catalog.pg_namespace
      UNION ALL SELECT 'TABLE', 'r', oid::pg_catalog.regclass::text, relowner, relacl, oid
        FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
      UNION ALL SELECT 'SEQUENCE', 's', oid::pg_catalog.regclass::text, relowner, relacl, NULL
        FROM pg_catalog.pg_class WHERE relkind = 'S'
      UNION ALL SELECT 'FUNCTION', 'f', oid::pg_catalog.regprocedure::text, proowner, proacl, NULL
        FROM pg_catalog.pg_proc WHERE prokind <> 'p'
      UNION ALL SELECT 'PROCEDURE', 'f', pg_catalog.format('%s.%I(%s)', pronamespace::pg_catalog.regnamespace, proname,
                                                           pg_catalog.pg_get_function_identity_arguments(oid)), proowner, proacl, NULL
        FROM pg_catalog.pg_proc WHERE prokind = 'p'
      UNION ALL SELECT 'TYPE', 'T', oid::pg_catalog.regtype::text, typowner, typacl, NULL FROM pg_catalog.pg_type),
    lacking AS (
      SELECT o.kind, o.name, o.relation, o.owner, pg_catalog.array_agg(usual.privilege_type) AS privileges
      FROM owned o, pg_catalog.aclexplode(pg_catalog.acldefault(o.letter, o.owner)) usual
      WHERE o.rights IS NOT NULL AND usual.grantee = o.owner AND pg_catalog.pg_has_role(o.owner, 'USAGE')
        AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(o.rights) has
                        WHERE has.grantee = o.owner AND has.privilege_type = usual.privilege_type)
        AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
      GROUP BY 1, 2, 3, 4)
    SELECT pg_catalog.format('%s ON %s %s', pg_catalog.array_to_string(l.privileges, ', '), l.kind, l.name) AS what,
      pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(l.owner)) AS owner,
      (SELECT pg_catalog.string_agg(pg_catalog.format('GRANT %s (%I) ON %s TO %I; ', has.privilege_type, a.attname, l.name,
                                                      pg_catalog.pg_get_userbyid(l.owner)), '')
       FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) has
       WHERE a.attrelid = l.relation AND has.grantee = l.owner AND has.privilege_type = ANY (l.privileges)) AS of_columns
    FROM lacking l
    ORDER BY l.kind <> 'SCHEMA', l.kind, l.name
  LOOP
    EXECUTE pg_catalog.format('GRANT %s TO %s', r.what, r.owner);
    undo := pg_catalog.format('REVOKE %s FROM %s; ', r.what, r.owner) || COALESCE(r.of_columns, '') || undo;
  END LOOP;
  PERFORM pg_catalog.set_config('janitor.lent_rights', undo, false);
END {{tag}};
