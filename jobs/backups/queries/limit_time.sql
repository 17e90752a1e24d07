-- How long a statement of this session may take.
SELECT pg_catalog.set_config('statement_timeout', %(limit)s, false)
