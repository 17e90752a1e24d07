-- What is found again, at the next try, is reported once. A proof that fails leaves the instant of the last good one.
-- A run that was overtaken records nothing, as its successor may have found more. Who asks by hand has no token, but 0.
WITH before AS (
    SELECT id_backup, verification_error FROM janitor_backups WHERE id_backup = %(id)s
), noted AS (
    UPDATE janitor_backups
    SET verified_at = CASE WHEN %(error)s::text IS NULL THEN now() ELSE verified_at END,
        verification_seconds = %(seconds)s, verification_error = %(error)s
    WHERE id_backup = %(id)s
      AND (
            %(fencing_token)s = 0
            OR EXISTS (SELECT FROM janitor_jobs WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s)
        )
    RETURNING id_backup
)
INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
SELECT 'BACKUP', %(title)s, %(message)s, 'ROJO'
FROM noted JOIN before ON before.id_backup = noted.id_backup
WHERE %(error)s::text IS NOT NULL AND before.verification_error IS DISTINCT FROM %(error)s::text
