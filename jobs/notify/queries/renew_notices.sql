-- What is reported without a change of state: a cause that still lasts after a day, one that has ceased to come and go, and,
-- under another number, what was sent twice to a channel without an answer.
WITH told AS (
    UPDATE janitor_causes AS cause
    SET told_at = now(),
        told_severity = cause.severity,
        unstable_since = CASE WHEN cause.since < now() - make_interval(hours => %(unstable_hours)s) THEN NULL
                              ELSE cause.unstable_since END
    WHERE (cause.state <> 'ok' AND cause.told_at < now() - make_interval(hours => %(reminder_hours)s))
       OR (cause.unstable_since IS NOT NULL AND cause.since < now() - make_interval(hours => %(unstable_hours)s))
    RETURNING cause, state, text, host, broken_since, unstable_since
), unknown AS (
    UPDATE janitor_deliveries
    SET unknown_at = now()
    WHERE attempts >= 2 AND delivered_at IS NULL AND unknown_at IS NULL AND channel = ANY(%(channels)s::text[])
      AND EXISTS (
            SELECT FROM janitor_jobs
            WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
        )
    RETURNING notice_id, channel
), repeated AS (
    INSERT INTO janitor_notices (cause, kind, state, text, host, broken_since, only_channel, repeats, in_platform)
    SELECT notice.cause, notice.kind, notice.state, notice.text, notice.host, notice.broken_since, unknown.channel,
           notice.id, true
    FROM unknown
    JOIN janitor_notices AS notice ON notice.id = unknown.notice_id
)
INSERT INTO janitor_notices (cause, kind, state, text, host, broken_since, in_platform)
SELECT cause, CASE WHEN state = 'ok' THEN 'recovered' WHEN unstable_since IS NULL THEN 'reminder' ELSE 'unstable' END,
       state, text, host, broken_since, state <> 'ok'
FROM told
RETURNING id
