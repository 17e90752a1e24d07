SET CONSTRAINTS ALL IMMEDIATE;
DO {{tag}} DECLARE r record; replica boolean := pg_catalog.current_setting('session_replication_role') = 'replica';
BEGIN
  FOR r IN SELECT command FROM pg_temp.janitor_undo ORDER BY n DESC LOOP EXECUTE r.command; END LOOP;
  -- Foreign keys that stayed were not looked at: the same ones once more, for the length of a look.
  FOR r IN SELECT * FROM pg_temp.janitor_keys WHERE replica AND is_valid ORDER BY rel, name LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT janitor_look_at_key %s', r.rel::pg_catalog.regclass, r.definition);
    EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT janitor_look_at_key', r.rel::pg_catalog.regclass);
  END LOOP;
END {{tag}};
DO {{tag}} BEGIN PERFORM pg_catalog.set_config('session_replication_role', 'origin', true);
EXCEPTION WHEN insufficient_privilege THEN NULL; END {{tag}};
