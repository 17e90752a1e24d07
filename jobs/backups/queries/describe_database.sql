SELECT pg_catalog.convert_to(d.datname, pg_catalog.getdatabaseencoding()), d.oid::bigint, pg_catalog.getdatabaseencoding()::text,
       pg_catalog.current_setting('server_version_num')::integer, pg_catalog.current_setting('server_version')
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
