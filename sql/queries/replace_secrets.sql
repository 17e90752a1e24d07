-- One transaction, as in store_secret.sql. Nothing is replaced if the table has changed since it was read: a secret
-- stored meanwhile must be neither lost nor left with an older key.
SELECT set_config('lock_timeout', '10s', true);
LOCK TABLE secretos_nube IN SHARE ROW EXCLUSIVE MODE;
WITH renewed AS (
    SELECT record.nombre, record.valor_cifrado, element ->> 'previous' AS previous
    FROM jsonb_array_elements(%(secrets)s) AS element, jsonb_populate_record(NULL::secretos_nube, element) AS record
), unknown AS (
    SELECT FROM secretos_nube AS stored
    WHERE stored.nombre IS NOT NULL AND NOT EXISTS (
        SELECT FROM renewed WHERE renewed.nombre = stored.nombre AND renewed.previous = stored.valor_cifrado::text
    )
), replaced AS (
    UPDATE secretos_nube AS stored SET valor_cifrado = renewed.valor_cifrado
    FROM renewed
    WHERE stored.nombre = renewed.nombre AND stored.valor_cifrado::text = renewed.previous
        AND NOT EXISTS (SELECT FROM unknown)
    RETURNING 1
)
SELECT (SELECT count(*) FROM replaced) AS replaced, EXISTS (SELECT FROM unknown) AS changed
