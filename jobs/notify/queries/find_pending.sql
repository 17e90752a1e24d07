-- What each channel has still to be given, the oldest first. In quiet hours only what needs a person is given, once.
SELECT wanted.channel, notice.id, notice.kind, notice.state, notice.text, notice.host, notice.broken_since,
       notice.created_at
FROM unnest(%(channels)s::text[]) AS wanted (channel)
LEFT JOIN janitor_channels AS known ON known.channel = wanted.channel
JOIN janitor_notices AS notice
    ON notice.created_at > coalesce(known.known_since, now()) - interval '1 day'
   AND (notice.only_channel IS NULL OR notice.only_channel = wanted.channel)
LEFT JOIN janitor_deliveries AS delivery
    ON delivery.notice_id = notice.id AND delivery.channel = wanted.channel
WHERE delivery.delivered_at IS NULL
  AND coalesce(delivery.attempts, 0) < 2
  AND (known.not_before IS NULL OR known.not_before <= now())
  AND (NOT %(quiet)s OR (notice.state = 'needs_person' AND notice.kind <> 'reminder'))
ORDER BY notice.id
