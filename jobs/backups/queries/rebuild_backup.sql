-- A backup that a provider holds: its row is written, or completed if a restored database knows it as unfinished. A row
-- of this name with another hash is of another backup: then nothing is written.
WITH known AS (
    SELECT
        backup.id_backup, backup.estado, coalesce(backup.eliminado, false) AS eliminado,
        own.id_backup IS NOT NULL AS is_own,
        CASE
            WHEN own.sha256 IS NOT NULL THEN own.sha256 IS NOT DISTINCT FROM %(sha256)s
            WHEN backup.hash_md5 IS NOT NULL THEN backup.hash_md5 IS NOT DISTINCT FROM %(md5)s
            ELSE backup.estado <> 'COMPLETADO' OR backup.tamanio_bytes IS NOT DISTINCT FROM %(size_bytes)s::bigint
        END AS is_same
    FROM historial_backup AS backup
    LEFT JOIN janitor_backups AS own ON own.id_backup = backup.id_backup
    WHERE backup.nombre_archivo = %(name)s
), same AS (
    SELECT id_backup, estado, eliminado, is_own FROM known WHERE is_same ORDER BY id_backup DESC LIMIT 1
), added AS (
    INSERT INTO historial_backup
        (tipo, nombre_archivo, ruta_archivo, tamanio_bytes, tamanio_legible, estado, tablas_respaldadas,
         registros_totales, hash_md5, id_backup_base, fecha_creacion, eliminado, ejecutado_por)
    SELECT
        %(kind)s, %(name)s, %(path)s, %(size_bytes)s, %(readable_size)s, 'COMPLETADO', %(tables)s,
        %(rows)s, %(md5)s, %(base_id)s::bigint, %(made)s::timestamptz, false, %(made_by)s
    WHERE NOT EXISTS (SELECT FROM known)
    RETURNING id_backup
), completed AS (
    UPDATE historial_backup AS backup
    SET estado = 'COMPLETADO', mensaje_error = NULL, tamanio_bytes = %(size_bytes)s,
        tamanio_legible = %(readable_size)s, hash_md5 = %(md5)s, tablas_respaldadas = %(tables)s,
        registros_totales = %(rows)s, id_backup_base = coalesce(backup.id_backup_base, %(base_id)s::bigint)
    FROM same
    WHERE backup.id_backup = same.id_backup AND same.estado <> 'COMPLETADO' AND NOT same.eliminado
    RETURNING backup.id_backup
), based AS (  -- the full one was found after its differential, at another provider
    UPDATE historial_backup AS backup SET id_backup_base = %(base_id)s::bigint
    FROM same
    WHERE backup.id_backup = same.id_backup AND same.estado = 'COMPLETADO' AND NOT same.eliminado AND same.is_own
        AND backup.id_backup_base IS NULL AND backup.tipo = %(kind)s AND %(base_id)s::bigint IS NOT NULL
), changed AS (
    SELECT id_backup FROM added UNION ALL SELECT id_backup FROM completed
), noted AS (
    INSERT INTO janitor_backups (id_backup, attempt, host, sha256, description_sha256, found_at_provider)
    SELECT id_backup, 'rebuilt:' || id_backup, %(host)s, %(sha256)s, %(description_sha256)s, true
    FROM changed
    ON CONFLICT (id_backup) DO UPDATE SET
        host = excluded.host, sha256 = excluded.sha256, description_sha256 = excluded.description_sha256,
        deleting_since = NULL, found_at_provider = true
)
SELECT id_backup, true AS is_new, false AS is_another FROM changed
UNION ALL
SELECT id_backup, false, false FROM same WHERE NOT EXISTS (SELECT FROM changed) AND NOT eliminado
UNION ALL
SELECT NULL, false, NOT EXISTS (SELECT FROM same) FROM (VALUES (1)) AS once
WHERE NOT EXISTS (SELECT FROM changed) AND NOT EXISTS (SELECT FROM same WHERE NOT eliminado)
