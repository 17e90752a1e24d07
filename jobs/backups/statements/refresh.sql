-- A view that cannot be computed from the present rows must not cost the rows.
DO {{tag}} BEGIN
  REFRESH MATERIALIZED VIEW {{view}};
EXCEPTION WHEN others THEN
  IF pg_catalog.left(SQLSTATE, 2) IN ('40', '53', '57', '58', 'XX') THEN RAISE; END IF;  -- the server's fault, not the view's
  RAISE WARNING 'the materialised view % is not refreshed: %; mend it and run REFRESH MATERIALIZED VIEW', {{name}}, SQLERRM;
END {{tag}};
