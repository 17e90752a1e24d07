-- Uncleared attempts that have sent something: while foreign_objects is NULL no run has looked at the place, so nothing
-- was sent.
SELECT count(*) AS count
FROM janitor_attempts
WHERE state IN ('open', 'abandoned') AND foreign_objects IS NOT NULL
