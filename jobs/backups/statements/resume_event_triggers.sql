DO {{tag}} DECLARE undo text := pg_catalog.current_setting('janitor.event_triggers');
BEGIN IF undo <> '' THEN EXECUTE undo; END IF; END {{tag}};
