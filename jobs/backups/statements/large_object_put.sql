SELECT pg_catalog.lo_put({{oid}}, {{offset}}, pg_catalog.decode('{{bytes}}', 'hex'));
