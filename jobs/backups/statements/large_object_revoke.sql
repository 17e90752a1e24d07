REVOKE ALL ON LARGE OBJECT {{oid}} FROM {{holders}};
