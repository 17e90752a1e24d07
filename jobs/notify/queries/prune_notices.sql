-- Old notices with their deliveries, and causes that have been well for as long.
WITH pruned AS (
    DELETE FROM janitor_notices WHERE created_at < now() - make_interval(days => %(days)s)
)
DELETE FROM janitor_causes WHERE state = 'ok' AND since < now() - make_interval(days => %(days)s)
