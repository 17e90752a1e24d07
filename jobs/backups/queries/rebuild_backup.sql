-- A backup that a provider holds: its row is written, or completed if a restored database knows it as unfinished.
WITH known AS (
    SELECT id_backup, estado, coalesce(eliminado, false) AS eliminado FROM historial_backup
    WHERE nombre_archivo = %(name)s
    ORDER BY id_backup DESC LIMIT 1
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
        registros_totales = %(rows)s
    FROM known
    WHERE backup.id_backup = known.id_backup AND known.estado <> 'COMPLETADO' AND NOT known.eliminado
    RETURNING backup.id_backup
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
SELECT id_backup, true AS is_new FROM changed
UNION ALL
SELECT id_backup, false FROM known WHERE NOT EXISTS (SELECT FROM changed) AND NOT eliminado
