-- Python knows the years 1 to 9999 only; by hand, anything may have been written. What has no date is none of the past.
SELECT
    backup.id_backup, backup.tipo, backup.nombre_archivo, backup.ruta_archivo, backup.tamanio_bytes, backup.estado,
    backup.mensaje_error, backup.duracion_segundos, backup.tablas_respaldadas, backup.registros_totales,
    backup.hash_md5, backup.id_backup_base, 
    least(greatest(coalesce(backup.fecha_creacion, 'infinity'), '0001-01-02Z'), '9999-12-30Z') AS fecha_creacion,
    CASE
        WHEN backup.fecha_eliminacion IS NOT NULL
        THEN least(greatest(backup.fecha_eliminacion, '0001-01-02Z'), '9999-12-30Z')
    END AS fecha_eliminacion,
    coalesce(backup.fecha_creacion, 'infinity') > now() AS is_dated_ahead,
    coalesce(backup.eliminado, false) AS eliminado, backup.ejecutado_por,
    own.attempt, own.host, own.sha256, own.description_sha256, coalesce(own.found_at_provider, false) AS found_at_provider, own.deleting_since,
    backup.estado = 'EN_PROCESO' AND own.attempt IS NOT NULL AND NOT EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = 'backup' AND host = '' AND finished_at IS NULL AND lease_expires_at > now()
    ) AS is_cut_off,
    own.verified_at, own.verification_seconds, own.verification_error, own.damaged_since,
    (
        SELECT json_agg(
            json_build_object(
                'nube_provider_id', copy.provider_id, 'proveedor', provider.nombre, 'clave', copy.key, 'tamanio_bytes', copy.size_bytes,
                'sha256', copy.sha256, 'evidencia', copy.evidence, 'guardada', copy.stored_at,
                'falta_desde', copy.missing_since
            ) ORDER BY copy.provider_id
        )
        FROM janitor_backup_copies AS copy
        LEFT JOIN cloud_providers AS provider ON provider.id = copy.provider_id
        WHERE copy.id_backup = backup.id_backup AND copy.stored_at IS NOT NULL AND copy.deleted_at IS NULL
    )::text AS copies
FROM historial_backup AS backup
LEFT JOIN janitor_backups AS own ON own.id_backup = backup.id_backup
ORDER BY backup.id_backup
