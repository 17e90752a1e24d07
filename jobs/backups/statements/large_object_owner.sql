ALTER LARGE OBJECT {{oid}} OWNER TO {{owner}};
COMMENT ON LARGE OBJECT {{oid}} IS {{comment}};
