-- A run that was overtaken begins nothing. The same run may ask twice, as an answer may be lost.
WITH own AS (
    SELECT id_backup FROM janitor_backups WHERE attempt = %(attempt)s
), begun AS (
    INSERT INTO historial_backup
        (tipo, nombre_archivo, ruta_archivo, estado, id_backup_base, fecha_creacion, eliminado, ejecutado_por)
    SELECT
        %(kind)s, %(name)s, %(path)s, 'EN_PROCESO', %(base_id)s::bigint, now(), false, %(made_by)s
    WHERE NOT EXISTS (SELECT FROM own)
        AND EXISTS (SELECT FROM janitor_jobs WHERE job = %(job)s AND fencing_token = %(fencing_token)s)
    RETURNING id_backup
), noted AS (
    INSERT INTO janitor_backups (id_backup, attempt, host)
    SELECT id_backup, %(attempt)s, %(host)s FROM begun
    ON CONFLICT (id_backup) DO UPDATE SET  -- a row of a table that the platform has made again
        attempt = excluded.attempt, host = excluded.host, sha256 = NULL, description_sha256 = NULL,
        deleting_since = NULL, missing_since = NULL,
        verified_at = NULL, verification_seconds = NULL, verification_error = NULL
)
SELECT id_backup FROM own UNION ALL SELECT id_backup FROM begun
