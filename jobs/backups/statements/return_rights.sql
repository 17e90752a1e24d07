DO {{tag}} DECLARE undo text := pg_catalog.current_setting('janitor.lent_rights');
BEGIN IF undo <> '' THEN EXECUTE undo; END IF; END {{tag}};
