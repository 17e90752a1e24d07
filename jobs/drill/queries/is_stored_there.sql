-- Whether a row still says that its execution is where it was when it was chosen.
SELECT EXISTS (
    SELECT FROM ejecuciones_yaml
    WHERE id = %(execution_id)s AND migrado_a_nube AND ruta_nube = %(uri)s AND nube_provider_id = %(provider_id)s
) AS is_stored_there
