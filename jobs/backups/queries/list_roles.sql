-- As bytes: all databases share the roles, and a name that was given in another encoding may be no text in this one.
SELECT pg_catalog.textsend(rolname::text) FROM pg_catalog.pg_roles WHERE rolname NOT LIKE 'pg\_%' ORDER BY 1
