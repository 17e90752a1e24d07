INSERT INTO janitor_runs (host, process_id, mode, version)
VALUES (%(host)s, %(process_id)s, %(mode)s, %(version)s)
RETURNING id
