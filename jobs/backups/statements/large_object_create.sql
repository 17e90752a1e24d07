SELECT pg_catalog.lo_create({{oid}});
