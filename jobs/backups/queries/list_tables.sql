-- The tables whose rows pg_dump reads, quoted as it quotes them; a table that is rewritten gets another filenode. Those of
-- an extension are the ones that it names, in whatever schema. A standby has no rows of unlogged ones.
SELECT c.oid::bigint, pg_catalog.convert_to('"' || pg_catalog.replace(n.nspname, '"', '""') || '"."' || pg_catalog.replace(c.relname, '"', '""') || '"',
                                            pg_catalog.getdatabaseencoding()), c.relkind::text, c.relfilenode::bigint
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND (c.relpersistence <> 'u' OR NOT pg_catalog.pg_is_in_recovery())
  AND (n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
       OR EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)))
ORDER BY 1
