DELETE FROM {{only}}{{table}} t USING pg_temp.janitor_vanished d WHERE {{condition}}
