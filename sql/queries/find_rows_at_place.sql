-- Other rows, in any state, that say that they lie at a place, in it or above it, by whomever that was written. What this
-- program has committed is known by its attempts, too, so this is for what others have written.
SELECT placed.id
FROM (
    SELECT id, regexp_replace(ruta_nube, '^[^:/]*://[^/]*/', '') COLLATE "C" AS place
    FROM ejecuciones_yaml
    WHERE ruta_nube IS NOT NULL
) AS placed
WHERE placed.id <> %(execution_id)s
  AND (
        placed.place = ANY(%(places_above)s::text[])
        OR placed.place = %(place)s
        OR starts_with(placed.place, %(place)s || '/')
    )
ORDER BY placed.id
LIMIT 10
