UPDATE janitor_backups
SET verified_at = CASE WHEN %(error)s::text IS NULL THEN now() END,
    verification_seconds = %(seconds)s, verification_error = %(error)s
WHERE id_backup = %(id)s
