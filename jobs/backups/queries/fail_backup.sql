WITH failed AS (
    UPDATE historial_backup AS backup
    SET estado = 'ERROR', mensaje_error = %(error)s, duracion_segundos = extract(epoch FROM now() - fecha_creacion)
    FROM janitor_backups AS own
    WHERE own.attempt = %(attempt)s AND backup.id_backup = own.id_backup AND backup.estado = 'EN_PROCESO'
    RETURNING backup.id_backup
)
INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
SELECT 'BACKUP', %(title)s, %(message)s, 'ROJO' FROM failed
