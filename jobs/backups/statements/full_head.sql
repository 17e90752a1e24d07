-- Janitor FULL {{id}}
\set ON_ERROR_STOP on
\set AUTOCOMMIT on
