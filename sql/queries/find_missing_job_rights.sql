-- The rights that one job needs and this role lacks; the schema check reports missing tables.
SELECT needed.right_name || ' en ' || needed.table_name AS missing
FROM unnest(%(tables)s::text[], %(rights)s::text[]) AS needed (table_name, right_name)
WHERE to_regclass(needed.table_name) IS NOT NULL
  AND NOT CASE
    WHEN needed.right_name IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
    THEN has_any_column_privilege(needed.table_name, needed.right_name)
    ELSE has_table_privilege(needed.table_name, needed.right_name)
END
ORDER BY 1
