-- When each provider last took an execution.
SELECT wanted.id AS provider_id, good.finished_at AS last_good_at
FROM unnest(%(provider_ids)s::integer[]) AS wanted (id)
JOIN LATERAL (
    SELECT finished_at
    FROM janitor_attempts
    WHERE provider_id = wanted.id AND state = 'committed'
    ORDER BY id DESC
    LIMIT 1
) AS good ON true
