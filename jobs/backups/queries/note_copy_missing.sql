-- Told once, however often it is found, until it is stored again.
WITH noted AS (
    UPDATE janitor_backup_copies SET missing_since = now()
    WHERE id_backup = %(id)s AND provider_id = %(provider_id)s AND store = %(store)s AND missing_since IS NULL
    RETURNING id_backup
)
INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
SELECT 'BACKUP', %(title)s, %(message)s, 'AMARILLO' FROM noted
