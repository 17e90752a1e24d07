INSERT INTO cloud_providers (nombre, tipo, credenciales, configuracion)
VALUES (%(name)s, %(kind)s, %(credentials)s::jsonb, %(options)s::jsonb)
RETURNING id
