INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion)
VALUES (%(uuid)s, %(directory)s, now() - make_interval(hours => %(age_hours)s))
