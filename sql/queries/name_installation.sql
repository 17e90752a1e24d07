-- The name of this installation, chosen at its first use, and again if the database turns out to be a copy of another
-- one: leftovers of earlier attempts may then belong to the original, and are not ours to remove.
WITH named AS (
    INSERT INTO janitor_installation AS present (id, installation, origin)
    VALUES (1, gen_random_uuid()::text, %(origin)s)
    ON CONFLICT (id) DO UPDATE SET
        installation = CASE
            WHEN present.origin = excluded.origin THEN present.installation ELSE excluded.installation
        END,
        origin = excluded.origin
    RETURNING installation, origin
),
before AS (
    SELECT origin FROM janitor_installation WHERE id = 1
),
disowned AS (
    UPDATE janitor_attempts
    SET foreign_objects = true
    WHERE state IN ('open', 'abandoned')
      AND EXISTS (SELECT FROM before WHERE before.origin <> %(origin)s)
    RETURNING id
)
SELECT
    named.installation,
    EXISTS (SELECT FROM before WHERE before.origin <> %(origin)s) AS is_copy,
    (SELECT count(*) FROM disowned) AS disowned_attempts
FROM named
