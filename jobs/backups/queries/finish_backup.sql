-- A whole backup is a good one, even if another run holds the job by now: each run writes its own row only.
WITH finished AS (
    UPDATE historial_backup AS backup
    SET estado = 'COMPLETADO', mensaje_error = NULL, nombre_archivo = %(name)s, ruta_archivo = %(path)s,
        tamanio_bytes = %(size_bytes)s, tamanio_legible = %(readable_size)s, hash_md5 = %(md5)s,
        tablas_respaldadas = %(tables)s, registros_totales = %(rows)s, duracion_segundos = %(seconds)s
    FROM janitor_backups AS own
    WHERE own.attempt = %(attempt)s AND backup.id_backup = own.id_backup AND backup.estado IN ('EN_PROCESO', 'ERROR')
    RETURNING backup.id_backup
), noted AS (
    UPDATE janitor_backups SET sha256 = %(sha256)s, description_sha256 = %(description_sha256)s
    WHERE id_backup IN (SELECT id_backup FROM finished)
)
INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
SELECT 'BACKUP', %(title)s, %(message)s, 'VERDE' FROM finished
