-- The owner of a table has all rights to it.
SELECT right_name
FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) WITH ORDINALITY AS named (right_name, position)
WHERE has_table_privilege('janitor_audit', right_name)
ORDER BY position
