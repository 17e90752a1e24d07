-- Of the program's own tables and columns, those that the database lacks.
SELECT needed.table_name, needed.column_name, to_regclass(needed.table_name) IS NULL AS is_table_missing
FROM unnest(%(tables)s::text[], %(columns)s::text[]) AS needed (table_name, column_name)
WHERE NOT EXISTS (
    SELECT FROM pg_attribute AS existing
    WHERE existing.attrelid = to_regclass(needed.table_name)
      AND existing.attname = needed.column_name
      AND NOT existing.attisdropped
)
ORDER BY 1, 2
