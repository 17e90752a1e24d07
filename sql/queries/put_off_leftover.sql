-- The provider refused to remove an attempt's leftovers, which does not resolve itself. After the first three tries
-- there is a pause of 6, 12, 24, then always 48 hours, as in claim_deletions.sql.
UPDATE janitor_attempts
SET removal_tries = removal_tries + 1,
    removal_next_at = CASE
        WHEN removal_tries < 2 THEN NULL
        ELSE now() + interval '6 hours' * power(2, least(removal_tries - 2, 3))
    END
WHERE id = %(attempt_id)s
RETURNING removal_next_at AS next_at
