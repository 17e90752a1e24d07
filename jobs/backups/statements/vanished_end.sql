\.
ANALYZE pg_temp.janitor_vanished;
-- A column may be called n, or found: in the deletion a bare name is a column.
DO {{tag}}
#variable_conflict use_column
DECLARE n bigint;
BEGIN
  {{deletion}};
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n <> {{count}} THEN RAISE EXCEPTION 'not the right base: % of {{count}} rows found in %', n, {{name}}; END IF;
END {{tag}};
DROP TABLE pg_temp.janitor_vanished;
