SELECT pg_catalog.lo_put({{oid}}, {{offset}}, '\x{{bytes}}');
