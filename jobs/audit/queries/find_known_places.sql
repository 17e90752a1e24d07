-- Of some places in one store, which several providers may name, those that something in the database stands for: a row that is stored there, or an
-- attempt that is under way, waits for its removal, or was committed for a row that was taken back since.
SELECT place
FROM unnest(%(places)s::text[]) AS place
WHERE EXISTS (
        SELECT FROM janitor_attempts AS attempt
        WHERE attempt.place = lower(place.place)
          AND attempt.provider_id = ANY(%(provider_ids)s::integer[])
          AND attempt.state IN ('open', 'abandoned', 'committed')
    )
UNION
SELECT substr(ruta_nube, 9 + strpos(substr(ruta_nube, 9), '/')) AS place -- what follows cloud://tipo/
FROM ejecuciones_yaml
WHERE ruta_nube IS NOT NULL
  AND (nube_provider_id IS NULL OR nube_provider_id = ANY(%(provider_ids)s::integer[]))
  AND substr(ruta_nube, 9 + strpos(substr(ruta_nube, 9), '/')) = ANY(%(places)s::text[])
