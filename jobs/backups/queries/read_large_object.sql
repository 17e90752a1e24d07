SELECT pg_catalog.lo_get(%(oid)s, %(offset)s, 1048576)
