-- A deletion that was begun is given up. A file that it had removed here already is not missed by now.
UPDATE janitor_backups SET deleting_since = NULL, found_at_provider = found_at_provider OR %(is_gone_here)s
WHERE id_backup = %(id)s
