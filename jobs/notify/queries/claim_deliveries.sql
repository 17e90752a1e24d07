-- Before the first byte: from here on a notice may have arrived. The same attempt counts once, as an answer may be lost.
WITH registered AS (
    INSERT INTO janitor_channels (channel) VALUES (%(channel)s) ON CONFLICT (channel) DO NOTHING
)
INSERT INTO janitor_deliveries AS delivery (notice_id, channel, attempts, attempt)
SELECT notice.id, %(channel)s, 1, %(attempt)s
FROM janitor_notices AS notice
WHERE notice.id = ANY(%(notice_ids)s::bigint[])
  AND EXISTS (
        SELECT FROM janitor_jobs
        WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
    )
ON CONFLICT (notice_id, channel) DO UPDATE SET
    attempts = delivery.attempts + CASE WHEN delivery.attempt = excluded.attempt THEN 0 ELSE 1 END,
    attempt = excluded.attempt,
    claimed_at = now()
WHERE delivery.attempt = excluded.attempt OR (delivery.attempts < 2 AND delivery.delivered_at IS NULL)
RETURNING notice_id
