-- Of the tables of extensions whose rows are dumped in part only: which part.
SELECT u.relation::bigint, pg_catalog.convert_to(u.condition, pg_catalog.getdatabaseencoding())
FROM pg_catalog.pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS u (relation, condition)
WHERE u.condition IS NOT NULL
