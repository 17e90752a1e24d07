SELECT id, nombre, tipo, credenciales::text AS credenciales, configuracion::text AS configuracion, activo
FROM cloud_providers
ORDER BY id
