-- The directories of all local providers, active or not. Fields that hold secrets are left out.
SELECT configuracion::text AS configuracion
FROM cloud_providers
WHERE lower(btrim(tipo::text, E' \t\n\r\f\v')) = 'local'
