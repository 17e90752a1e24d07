INSERT INTO ejecuciones_config (
    nube_primaria_id, nubes_alternativas, tiempo_retencion_local, prefijo_ruta_nube, eliminar_despues_de_migrar
)
VALUES (%(primary_id)s, ARRAY[%(alternate_id)s::integer], %(retention_hours)s, %(key_prefix)s, true)
