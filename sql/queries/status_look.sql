-- What the last look at a large table has found, and the last id that it has seen.
SELECT execution_ids::text AS execution_ids, last_table_id AS after_id
FROM janitor_looks
WHERE last_table_id IS NOT NULL AND looked_at > now() - interval '2 days'
