-- Where the providers of kind local keep copies, those that are not active too. The fields that hold secrets stay out.
SELECT configuracion::text AS configuracion
FROM cloud_providers
WHERE lower(btrim(tipo::text, E' \t\n\r\f\v')) = 'local'
