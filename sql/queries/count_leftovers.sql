SELECT count(*) AS count FROM janitor_attempts WHERE state IN ('open', 'abandoned')
