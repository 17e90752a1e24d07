-- A run that was overtaken fails nothing: it may be about to close the backup that its successor is making. What it has
-- begun itself, that one closes.
WITH failed AS (
    UPDATE historial_backup AS backup
    SET estado = 'ERROR', mensaje_error = %(error)s, duracion_segundos = extract(epoch FROM now() - fecha_creacion)
    FROM janitor_backups AS own
    WHERE own.attempt = %(attempt)s AND backup.id_backup = own.id_backup AND backup.estado = 'EN_PROCESO'
      AND EXISTS (SELECT FROM janitor_jobs WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s)
    RETURNING backup.id_backup
)
INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
SELECT 'BACKUP', %(title)s, %(message)s, 'ROJO' FROM failed
