-- Other rows, in any state, that say that they lie at a place, in it or above it, by whomever that was written. What this
-- program has committed is known by its attempts, too, so this is for what others have written.
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
