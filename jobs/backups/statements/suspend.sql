-- Triggers, rules and foreign keys must not act: a deletion would cascade to rows that did not change.
DO {{tag}} BEGIN PERFORM pg_catalog.set_config('session_replication_role', 'replica', true);
EXCEPTION WHEN insufficient_privilege THEN NULL; END {{tag}};
SELECT pg_catalog.set_config('row_security', 'off', true);
-- The default privileges of tables may leave out who makes one (ALTER DEFAULT PRIVILEGES REVOKE).
CREATE TEMP TABLE janitor_touched (rel pg_catalog.regclass PRIMARY KEY, has_deletions boolean) ON COMMIT DROP;
CREATE TEMP TABLE janitor_undo (n integer PRIMARY KEY, command text) ON COMMIT DROP;
GRANT ALL ON pg_temp.janitor_touched, pg_temp.janitor_undo TO CURRENT_USER;
INSERT INTO pg_temp.janitor_touched VALUES {{touched}};
INSERT INTO pg_temp.janitor_touched
  SELECT p.relid, x.has_deletions FROM pg_temp.janitor_touched x, pg_catalog.pg_partition_tree(x.rel) p ON CONFLICT DO NOTHING;
CREATE TEMP TABLE janitor_keys ON COMMIT DROP AS
  SELECT f.conrelid AS rel, f.conname AS name, pg_catalog.pg_get_constraintdef(f.oid) AS definition, f.convalidated AS is_valid,
         pg_catalog.obj_description(f.oid, 'pg_constraint') AS description
  FROM pg_catalog.pg_constraint f
  WHERE f.contype = 'f' AND f.conparentid = 0
    AND EXISTS (WITH RECURSIVE up (oid) AS (
                  SELECT rel::oid FROM pg_temp.janitor_touched
                  UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN up ON up.oid = i.inhrelid)
                SELECT FROM up WHERE up.oid IN (f.conrelid, f.confrelid));
-- The tables that changed and those from which they inherit, each higher than all of its heirs.
CREATE TEMP TABLE janitor_above ON COMMIT DROP AS
  WITH RECURSIVE up (oid, height) AS (
    SELECT rel::oid, 0 FROM pg_temp.janitor_touched
    UNION SELECT i.inhparent, up.height + 1 FROM pg_catalog.pg_inherits i JOIN up ON up.oid = i.inhrelid)
  SELECT oid::pg_catalog.regclass AS rel, pg_catalog.max(height) AS height FROM up GROUP BY oid;
GRANT ALL ON pg_temp.janitor_keys, pg_temp.janitor_above TO CURRENT_USER;
DO {{tag}} DECLARE r record; replica boolean := pg_catalog.current_setting('session_replication_role') = 'replica'; n integer := 0;
BEGIN
  FOR r IN
    SELECT 1 AS kind, t.tgrelid AS first, t.tgname::text AS second,
      pg_catalog.format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', t.tgrelid::pg_catalog.regclass, t.tgname) AS command,
      pg_catalog.format('ALTER TABLE ONLY %s ENABLE %sTRIGGER %I', t.tgrelid::pg_catalog.regclass,
                        CASE t.tgenabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' ELSE '' END, t.tgname) AS undo
    FROM pg_catalog.pg_trigger t JOIN pg_temp.janitor_touched x ON x.rel = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND (NOT replica OR t.tgenabled IN ('A', 'R'))
    UNION ALL
    SELECT 2, w.ev_class, w.rulename::text, pg_catalog.format('ALTER TABLE %s DISABLE RULE %I', w.ev_class::pg_catalog.regclass, w.rulename),
      pg_catalog.format('ALTER TABLE %s ENABLE %sRULE %I', w.ev_class::pg_catalog.regclass,
                        CASE w.ev_enabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' ELSE '' END, w.rulename)
    FROM pg_catalog.pg_rewrite w JOIN pg_temp.janitor_touched x ON x.rel = w.ev_class
    WHERE w.ev_enabled <> 'D' AND (NOT replica OR w.ev_enabled IN ('A', 'R'))
    UNION ALL
    SELECT 3, c.oid, '', pg_catalog.format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', c.oid::pg_catalog.regclass),
      pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.oid::pg_catalog.regclass)
    FROM pg_catalog.pg_class c JOIN pg_temp.janitor_touched x ON x.rel = c.oid
    WHERE c.relforcerowsecurity AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user)
    UNION ALL  -- whatever the identity is, a row filter, a list of columns or a generated column may forbid to publish deletions
    SELECT 4, p.oid, '',
      pg_catalog.format('ALTER PUBLICATION %I SET (publish = %L)', p.pubname, pg_catalog.concat_ws(', ', o.others)),
      pg_catalog.format('ALTER PUBLICATION %I SET (publish = %L)', p.pubname, pg_catalog.concat_ws(', ', 'delete', o.others))
    FROM pg_catalog.pg_publication p,
      LATERAL (SELECT NULLIF(pg_catalog.concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                                                  CASE WHEN p.pubtruncate THEN 'truncate' END), '') AS others) o
    WHERE p.pubdelete AND pg_catalog.pg_has_role(p.pubowner, 'USAGE') AND EXISTS (
      SELECT FROM pg_temp.janitor_touched x, LATERAL (SELECT x.rel UNION SELECT pg_catalog.pg_partition_ancestors(x.rel)) u (rel)
      WHERE x.has_deletions AND (
        EXISTS (SELECT FROM pg_catalog.pg_publication_rel l, pg_catalog.to_jsonb(l) j  -- before version 15 without these columns
                WHERE l.prpubid = p.oid AND l.prrelid = u.rel AND COALESCE(j ->> 'prqual', j ->> 'prattrs') IS NOT NULL)
        OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.rel AND a.attgenerated <> '')
           AND EXISTS (SELECT FROM pg_catalog.pg_get_publication_tables(p.pubname::text) g WHERE g.relid = u.rel)))
    UNION ALL  -- a table whose deletions are published needs an identity to delete by
    SELECT 4, c.oid, '', pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY FULL', c.oid::pg_catalog.regclass),
      pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY %s', c.oid::pg_catalog.regclass, CASE c.relreplident WHEN 'n' THEN 'NOTHING' ELSE 'DEFAULT' END)
    FROM pg_catalog.pg_class c JOIN pg_temp.janitor_touched x ON x.rel = c.oid
    WHERE x.has_deletions AND EXISTS (SELECT FROM pg_catalog.pg_publication)
      AND (c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS (
             SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate))
    UNION ALL  -- the columns of an identity must have their NOT NULL, also one that is not valid and is set aside below
    SELECT 4, t.oid, '', pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY FULL', t.oid::pg_catalog.regclass),
      pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', t.oid::pg_catalog.regclass, n.relname)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class n ON n.oid = i.indexrelid JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    WHERE i.indisreplident AND t.relreplident = 'i' AND pg_catalog.pg_has_role(t.relowner, 'USAGE')
      AND EXISTS (SELECT FROM pg_catalog.pg_constraint c
                  WHERE c.conrelid = t.oid AND c.contype = 'n' AND NOT c.convalidated AND c.conkey[1] = ANY (i.indkey::int2[]))
      AND t.oid IN (WITH RECURSIVE down (oid) AS (
                      SELECT a.rel::oid FROM pg_temp.janitor_above a
                      UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN down ON down.oid = h.inhparent)
                    SELECT down.oid FROM down)
    UNION ALL
    SELECT 5, k.rel, k.name::text, pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', k.rel::pg_catalog.regclass, k.name),
      pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.rel::pg_catalog.regclass, k.name, k.definition)
      || COALESCE(pg_catalog.format('; COMMENT ON CONSTRAINT %I ON %s IS %L', k.name, k.rel::pg_catalog.regclass, k.description), '')
    FROM pg_temp.janitor_keys k WHERE NOT replica
    UNION ALL  -- a constraint that is not valid: the rows may break it
    SELECT 6, t.oid, c.conname::text, pg_catalog.format('ALTER DOMAIN %s DROP CONSTRAINT %I', t.oid::pg_catalog.regtype, c.conname),
      pg_catalog.format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', t.oid::pg_catalog.regtype, c.conname, pg_catalog.pg_get_constraintdef(c.oid))
      || COALESCE(pg_catalog.format('; COMMENT ON CONSTRAINT %I ON DOMAIN %s IS %L', c.conname, t.oid::pg_catalog.regtype,
                                    pg_catalog.obj_description(c.oid, 'pg_constraint')), '')
    FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_type t ON t.oid = c.contypid
    WHERE NOT c.convalidated AND pg_catalog.pg_has_role(t.typowner, 'USAGE')
    UNION ALL  -- the comment of one that is inherited goes with that of the ancestor, and comes back after it
    SELECT 7, c.conrelid, c.conname::text, NULL,
      pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, c.conrelid::pg_catalog.regclass, pg_catalog.obj_description(c.oid, 'pg_constraint'))
    FROM pg_catalog.pg_constraint c
    WHERE c.contype IN ('c', 'n') AND NOT c.convalidated AND NOT c.conislocal AND pg_catalog.obj_description(c.oid, 'pg_constraint') IS NOT NULL
      AND c.conrelid IN (WITH RECURSIVE down (oid) AS (
                           SELECT a.rel::oid FROM pg_temp.janitor_above a
                           UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN down ON down.oid = i.inhparent)
                         SELECT down.oid FROM down)
    UNION ALL  -- ancestors first: what a table inherits and has of its own as well stays until then
    SELECT 1000000 - a.height, c.conrelid, c.conname::text, pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::pg_catalog.regclass, c.conname),
      pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.conrelid::pg_catalog.regclass, c.conname, pg_catalog.pg_get_constraintdef(c.oid))
      || COALESCE(pg_catalog.format('; COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, c.conrelid::pg_catalog.regclass,
                                    pg_catalog.obj_description(c.oid, 'pg_constraint')), '')
    FROM pg_catalog.pg_constraint c JOIN pg_temp.janitor_above a ON a.rel = c.conrelid JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
    WHERE c.contype IN ('c', 'n') AND NOT c.convalidated AND c.conislocal AND pg_catalog.pg_has_role(t.relowner, 'USAGE')
    ORDER BY 1, 2, 3
  LOOP
    n := n + 1;
    INSERT INTO pg_temp.janitor_undo VALUES (n, r.undo);
    IF r.command IS NOT NULL THEN EXECUTE r.command; END IF;
  END LOOP;
END {{tag}};
