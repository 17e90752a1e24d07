-- The channels that did not take the last message that they were given.
SELECT channel, last_error FROM janitor_channels
WHERE failing_since IS NOT NULL AND channel = ANY(%(channels)s::text[])
ORDER BY channel
