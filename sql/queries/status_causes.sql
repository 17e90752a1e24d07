-- Since when each cause of trouble lasts that runs have noted: they do where operators are to be told.
SELECT cause, broken_since FROM janitor_causes WHERE state <> 'ok'
