SELECT DISTINCT ON (backup.tipo)
    backup.tipo AS kind,
    extract(epoch FROM backup.fecha_creacion)::double precision AS made,
    extract(epoch FROM now() - backup.fecha_creacion)::double precision AS age,
    backup.tamanio_bytes AS size_bytes,
    (SELECT extract(epoch FROM max(verified_at))::double precision FROM janitor_backups WHERE verification_error IS NULL)
        AS verified
FROM historial_backup AS backup
LEFT JOIN janitor_backups AS own ON own.id_backup = backup.id_backup
WHERE backup.estado = 'COMPLETADO'
  AND backup.eliminado IS NOT TRUE
  AND own.deleting_since IS NULL
  AND own.missing_since IS NULL
  AND isfinite(backup.fecha_creacion)
ORDER BY backup.tipo, backup.fecha_creacion DESC
