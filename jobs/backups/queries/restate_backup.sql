-- What was begun as a differential becomes a full one.
UPDATE historial_backup AS backup
SET tipo = %(kind)s, nombre_archivo = %(name)s, ruta_archivo = %(path)s, id_backup_base = NULL
FROM janitor_backups AS own
WHERE own.attempt = %(attempt)s AND backup.id_backup = own.id_backup
