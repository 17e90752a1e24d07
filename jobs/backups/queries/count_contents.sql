-- What a database holds that is no part of an empty one.
SELECT
    (SELECT count(*) FROM pg_class AS relation JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
     WHERE schema.nspname !~ '^pg_' AND schema.nspname <> 'information_schema')
    + (SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public'))
    + (SELECT count(*) FROM pg_largeobject_metadata)
