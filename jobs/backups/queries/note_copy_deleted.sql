UPDATE janitor_backup_copies SET deleted_at = now()
WHERE id_backup = %(id)s AND provider_id = %(provider_id)s AND store = %(store)s AND deleted_at IS NULL
