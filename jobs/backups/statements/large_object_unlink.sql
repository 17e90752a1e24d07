SELECT pg_catalog.lo_unlink({{oid}});
