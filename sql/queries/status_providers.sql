-- What the attempts tell of each provider: the last one that succeeded, and those since then that failed for a reason
-- of the provider's own.
SELECT
    wanted.id AS provider_id,
    good.finished_at AS last_good_at,
    bad.count AS failures,
    bad.since,
    latest.error_code,
    latest.error,
    latest.finished_at AS failed_at
FROM unnest(%(provider_ids)s::integer[]) AS wanted (id)
LEFT JOIN LATERAL (
    SELECT id, finished_at
    FROM janitor_attempts
    WHERE provider_id = wanted.id AND state = 'committed'
    ORDER BY id DESC
    LIMIT 1
) AS good ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS count, min(finished_at) AS since, max(id) AS last_id
    FROM janitor_attempts
    WHERE provider_id = wanted.id
      AND id > coalesce(good.id, 0)
      AND error_code = ANY(%(codes)s)
      AND finished_at > coalesce(good.finished_at, '-infinity')
) AS bad ON true
LEFT JOIN janitor_attempts AS latest ON latest.id = bad.last_id
