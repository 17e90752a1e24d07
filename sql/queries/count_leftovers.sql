-- Attempts that nobody has cleared away and that have sent something: where nobody has looked at the place yet
-- (foreign_objects is NULL), nothing was sent.
SELECT count(*) AS count
FROM janitor_attempts
WHERE state IN ('open', 'abandoned') AND foreign_objects IS NOT NULL
