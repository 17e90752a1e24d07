-- What one job needs and this role may not do; tables that are not there are told by the schema's own check.
SELECT needed.right_name || ' en ' || needed.table_name AS missing
FROM unnest(%(tables)s::text[], %(rights)s::text[]) AS needed (table_name, right_name)
WHERE to_regclass(needed.table_name) IS NOT NULL
  AND NOT has_any_column_privilege(needed.table_name, needed.right_name)
ORDER BY 1
