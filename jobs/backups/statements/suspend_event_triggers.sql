-- Event triggers must not act: what they write would come on top. Only who owns them, a superuser, can set them aside.
DO {{tag}} DECLARE r record; undo text := '';
BEGIN
  FOR r IN SELECT e.evtname, CASE e.evtenabled WHEN 'A' THEN ' ALWAYS' WHEN 'R' THEN ' REPLICA' ELSE '' END AS state
           FROM pg_catalog.pg_event_trigger e
           WHERE e.evtenabled <> 'D' AND e.evtevent <> 'login' AND pg_catalog.pg_has_role(e.evtowner, 'USAGE') LOOP
    EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', r.evtname);
    undo := undo || pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE%s;', r.evtname, r.state);
  END LOOP;
  PERFORM pg_catalog.set_config('janitor.event_triggers', undo, true);
END {{tag}};
