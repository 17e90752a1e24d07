-- Each notice once: the mark and the row are written together.
WITH copied AS (
    UPDATE janitor_notices SET in_platform = true
    WHERE id = ANY(ARRAY(SELECT id FROM janitor_notices WHERE NOT in_platform ORDER BY id FOR UPDATE SKIP LOCKED))
      AND NOT in_platform
    RETURNING id, cause, kind, state, text, host, only_channel
)
INSERT INTO notificaciones (tipo, titulo, mensaje, semaforo)
SELECT
    'JANITOR',
    left(CASE WHEN state = 'ok' THEN %(good)s ELSE %(bad)s END || ' ' || text, 255),
    text || ' (' || host || ')',
    CASE WHEN state = 'ok' THEN 'VERDE' WHEN state = 'degraded' THEN 'AMARILLO' ELSE 'ROJO' END
FROM copied
WHERE only_channel IS NULL AND kind <> 'reminder'
ORDER BY id
