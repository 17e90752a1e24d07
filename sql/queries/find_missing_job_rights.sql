-- The rights that one job needs and this role lacks; the schema check reports missing tables. A name with parentheses is
-- that of a function.
SELECT needed.right_name AS right, needed.name, quote_ident(current_user) AS role
FROM unnest(%(names)s::text[], %(rights)s::text[]) AS needed (name, right_name)
WHERE NOT CASE
    WHEN needed.right_name = 'EXECUTE' THEN
        to_regprocedure(needed.name) IS NULL OR has_function_privilege(to_regprocedure(needed.name), 'EXECUTE')
    WHEN to_regclass(needed.name) IS NULL THEN true
    WHEN needed.right_name IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
    THEN has_any_column_privilege(needed.name, needed.right_name)
    ELSE has_table_privilege(needed.name, needed.right_name)
END
ORDER BY needed.right_name || needed.name
