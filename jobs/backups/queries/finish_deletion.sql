UPDATE historial_backup SET eliminado = true, fecha_eliminacion = now()
WHERE id_backup = %(id)s AND eliminado IS NOT TRUE
