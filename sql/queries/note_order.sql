INSERT INTO janitor_audit (event, execution_id, uuid, host, os_user, command, details)
VALUES (%(event)s, %(execution_id)s, %(uuid)s, %(host)s, %(os_user)s, %(command)s, %(details)s)
