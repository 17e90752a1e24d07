-- Told once, however often it is found.
WITH noted AS (
    UPDATE janitor_backups SET missing_since = now() WHERE id_backup = %(id)s AND missing_since IS NULL
    RETURNING id_backup
),
told AS (
    INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
    SELECT 'BACKUP', %(title)s, %(message)s, 'AMARILLO' FROM noted
)
SELECT id_backup FROM noted
