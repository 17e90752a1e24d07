-- For each table the columns that identify a row, the operators by which their index tells values apart, and its
-- collations where they are not those of the columns.
WITH usable AS (
  SELECT DISTINCT ON (i.indrelid) i.indrelid, i.indkey::int2[] AS columns, i.indclass::oid[] AS classes, i.indcollation::oid[] AS collations, i.indnkeyatts AS count
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_catalog.pg_am am ON am.oid = ic.relam
  WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND am.amname = 'btree'
    AND NOT EXISTS (
      SELECT FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) g
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[g]
      WHERE NOT a.attnotnull OR a.attgenerated <> ''
         OR EXISTS (SELECT FROM pg_catalog.pg_constraint n  -- a NOT NULL that is not valid yet: there may be NULLs
                    WHERE n.contype = 'n' AND n.conrelid = i.indrelid AND n.conkey[1] = a.attnum AND NOT n.convalidated))
  ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid)
SELECT u.indrelid::bigint,
  (SELECT pg_catalog.array_agg(pg_catalog.encode(pg_catalog.convert_to('"' || pg_catalog.replace(a.attname, '"', '""') || '"', pg_catalog.getdatabaseencoding()), 'hex') ORDER BY g)
   FROM pg_catalog.generate_series(0, u.count - 1) g JOIN pg_catalog.pg_attribute a ON a.attrelid = u.indrelid AND a.attnum = u.columns[g]),
  (SELECT pg_catalog.array_agg(pg_catalog.encode(pg_catalog.convert_to('OPERATOR("' || pg_catalog.replace(s.nspname, '"', '""') || '".' || o.oprname || ')', pg_catalog.getdatabaseencoding()), 'hex') ORDER BY g)
   FROM pg_catalog.generate_series(0, u.count - 1) g
   JOIN pg_catalog.pg_opclass c ON c.oid = u.classes[g]
   JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype AND p.amopstrategy = 3
   JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
   JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace),
  (SELECT pg_catalog.array_agg(pg_catalog.encode(pg_catalog.convert_to(COALESCE(' COLLATE "' || pg_catalog.replace(s.nspname, '"', '""') || '"."' || pg_catalog.replace(l.collname, '"', '""') || '"', ''),
                                                                       pg_catalog.getdatabaseencoding()), 'hex') ORDER BY g)
   FROM pg_catalog.generate_series(0, u.count - 1) g
   JOIN pg_catalog.pg_attribute a ON a.attrelid = u.indrelid AND a.attnum = u.columns[g]
   LEFT JOIN pg_catalog.pg_collation l ON l.oid = u.collations[g] AND l.oid <> a.attcollation
   LEFT JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace)
FROM usable u
