-- A view that cannot be computed from the present rows must not cost the rows. Its query may depend on settings of the
-- database that no backup holds: on which day an instant is, say. They hold for the view alone.
DO {{tag}} DECLARE s record;
BEGIN
  FOR s IN SELECT v.name, v.value FROM (VALUES {{settings}}) AS v (name, value) LOOP
    BEGIN
      PERFORM pg_catalog.set_config(s.name, s.value, true);
    EXCEPTION WHEN others THEN
      RAISE WARNING 'the materialised view % is filled without % = %: %', {{name}}, s.name, s.value, SQLERRM;
    END;
  END LOOP;
  REFRESH MATERIALIZED VIEW {{view}};
  PERFORM pg_catalog.set_config(v.name, v.value, true)
  FROM (VALUES ('TimeZone', 'UTC'), ('DateStyle', 'ISO, MDY'), ('IntervalStyle', 'postgres'), ('extra_float_digits', '3')) AS v (name, value);
EXCEPTION WHEN others THEN
  IF pg_catalog.left(SQLSTATE, 2) IN ('40', '53', '57', '58', 'XX') THEN RAISE; END IF;  -- the server's fault, not the view's
  RAISE WARNING 'the materialised view % is not refreshed: %; mend it and run REFRESH MATERIALIZED VIEW', {{name}}, SQLERRM;
END {{tag}};
