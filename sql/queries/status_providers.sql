-- When each provider last took an execution. The bounds and the order leave the planner no index but that of providers
-- and ids: by ids alone it would walk through all attempts for a provider that never took one.
SELECT wanted.id AS provider_id, good.finished_at AS last_good_at
FROM unnest(%(provider_ids)s::integer[]) AS wanted (id)
JOIN LATERAL (
    SELECT finished_at
    FROM janitor_attempts
    WHERE provider_id BETWEEN wanted.id AND wanted.id AND state = 'committed'
    ORDER BY provider_id DESC, id DESC
    LIMIT 1
) AS good ON true
