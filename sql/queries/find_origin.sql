-- Identifies this server and database: a copy made by pg_dump, or on the same server, has another identity.
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), database.oid) AS origin
FROM pg_database AS database
WHERE database.datname = current_database()
