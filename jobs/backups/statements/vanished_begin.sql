CREATE TEMP TABLE janitor_vanished ON COMMIT DROP AS SELECT {{columns}} FROM {{only}}{{table}} WITH NO DATA;
COPY pg_temp.janitor_vanished {{column_list}}FROM stdin;
