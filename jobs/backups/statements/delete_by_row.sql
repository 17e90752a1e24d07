WITH d AS MATERIALIZED (SELECT {{row}} AS r, pg_catalog.count(*) AS n FROM pg_temp.janitor_vanished GROUP BY 1),
       a AS MATERIALIZED (SELECT tableoid AS o, ctid AS c, {{row}} AS r FROM {{only}}{{table}} {{condition}}),
       x AS MATERIALIZED (SELECT a.o, a.c, d.n, pg_catalog.row_number() OVER (PARTITION BY a.r) AS k FROM a JOIN d ON a.r = d.r)
  DELETE FROM {{only}}{{table}} t USING x WHERE t.tableoid = x.o AND t.ctid = x.c AND x.k <= x.n
