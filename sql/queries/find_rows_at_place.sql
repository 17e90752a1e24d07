-- Other rows, in any state, whose ruta_nube is at, inside or above a place, written by any program. Attempts also
-- record this program's own commits, so this covers what others wrote.
SELECT id
FROM ejecuciones_yaml
WHERE (strpos(ruta_nube, '/' || %(place)s) > 0 OR ruta_nube = ANY(%(uris_above)s::text[]))
  AND id <> %(execution_id)s
  AND (
        ruta_nube = ANY(%(uris_above)s::text[])
        OR starts_with(
            substr(ruta_nube, 9 + strpos(substr(ruta_nube, 9), '/')) || '/', %(place)s || '/' -- what follows cloud://tipo/
        )
    )
ORDER BY id
LIMIT 10
