-- Before any other statement: an operator that the owner of a schema made could stand in for one of PostgreSQL's.
SELECT pg_catalog.set_config('search_path', '', false)
