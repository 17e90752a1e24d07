-- The channel has taken the message.
WITH delivered AS (
    UPDATE janitor_deliveries SET delivered_at = now()
    WHERE channel = %(channel)s AND attempt = %(attempt)s AND delivered_at IS NULL
    RETURNING notice_id
)
UPDATE janitor_channels
SET last_good_at = now(), failing_since = NULL, failures = 0, last_error = NULL, not_before = NULL
WHERE channel = %(channel)s AND EXISTS (SELECT FROM delivered)
