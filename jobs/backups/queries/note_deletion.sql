UPDATE janitor_backups SET deleting_since = coalesce(deleting_since, now()) WHERE id_backup = %(id)s
