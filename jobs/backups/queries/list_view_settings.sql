-- What the query of a view may depend on, as a new session of this role in this database has it: psycopg2 sets DateStyle.
SELECT pg_catalog.convert_to(name, pg_catalog.getdatabaseencoding()), pg_catalog.convert_to(reset_val, pg_catalog.getdatabaseencoding())
FROM pg_catalog.pg_settings
WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'extra_float_digits', 'bytea_output', 'lc_monetary', 'lc_numeric', 'lc_time',
               'default_text_search_config', 'xmlbinary')
ORDER BY 1
