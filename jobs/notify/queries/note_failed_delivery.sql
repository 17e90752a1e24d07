-- The channel has not taken the message. If that is certain, the attempt does not count. The next one waits for as long
-- as the channel asks for, and otherwise longer each time.
WITH failed AS (
    UPDATE janitor_deliveries
    SET attempts = attempts - CASE WHEN %(is_certain)s THEN 1 ELSE 0 END, attempt = NULL
    WHERE channel = %(channel)s AND attempt = %(attempt)s AND delivered_at IS NULL
    RETURNING notice_id
)
UPDATE janitor_channels
SET failing_since = coalesce(failing_since, now()),
    failures = failures + 1,
    last_error = %(error)s,
    not_before = now() + make_interval(
        secs => greatest(
            %(retry_after_seconds)s::double precision,
            least(%(first_pause_seconds)s * 2 ^ least(failures, 20), %(longest_pause_seconds)s)
        )
    )
WHERE channel = %(channel)s AND EXISTS (SELECT FROM failed)
