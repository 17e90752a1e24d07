SELECT pg_catalog.convert_to(rolname, pg_catalog.getdatabaseencoding()) FROM pg_catalog.pg_roles WHERE rolname NOT LIKE 'pg\_%' ORDER BY 1
