-- Told once, however often it is found, until the file is whole again.
WITH noted AS (
    UPDATE janitor_backups SET damaged_since = now()
    WHERE id_backup = %(id)s AND damaged_since IS NULL
    RETURNING id_backup
)
INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
SELECT 'BACKUP', %(title)s, %(message)s, 'AMARILLO' FROM noted
