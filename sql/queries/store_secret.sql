-- Sent as one string, this is one transaction. The lock keeps two writers from both finding the name missing where the
-- platform's table has no unique constraint; jsonb_populate_record gives each value its column's own type.
SELECT set_config('lock_timeout', '10s', true);
LOCK TABLE secretos_nube IN SHARE ROW EXCLUSIVE MODE;
WITH given AS (
    SELECT nombre, valor_cifrado FROM jsonb_populate_record(NULL::secretos_nube, %(secret)s)
), replaced AS (
    UPDATE secretos_nube AS stored SET valor_cifrado = given.valor_cifrado
    FROM given
    WHERE stored.nombre = given.nombre
    RETURNING 1
), added AS (
    INSERT INTO secretos_nube (nombre, valor_cifrado)
    SELECT nombre, valor_cifrado FROM given WHERE NOT EXISTS (SELECT FROM replaced)
    RETURNING 1
)
SELECT (SELECT count(*) FROM replaced) AS replaced, (SELECT count(*) FROM added) AS added
