-- The file of a backup is whole again.
UPDATE janitor_backups SET damaged_since = NULL WHERE id_backup = %(id)s
