CREATE TEMP TABLE janitor_vanished ON COMMIT DROP AS SELECT {{columns}} FROM {{only}}{{table}} WITH NO DATA;
GRANT ALL ON pg_temp.janitor_vanished TO CURRENT_USER;
COPY pg_temp.janitor_vanished {{column_list}}FROM stdin;
