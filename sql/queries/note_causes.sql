-- One statement, so that a state and the notice of its change are written together. A state that is repeated changes
-- nothing, and neither does this statement when it is sent twice.
-- A job of the platform gives its name and token: one that was overtaken writes nothing.
-- told_at becomes now() if operators are to be told: of the first failure, of a worse state and of the recovery. From
-- the change on that makes a cause unstable, only states worse than any reported since are reported.
WITH noted AS (
    SELECT given.cause, given.state, given.text, given.host,
           array_position(ARRAY['ok', 'degraded', 'failed', 'needs_person'], given.state) - 1 AS severity
    FROM json_to_recordset(%(causes)s::json) AS given (cause TEXT, state TEXT, text TEXT, host TEXT)
), written AS (
    INSERT INTO janitor_causes AS known (cause, state, severity, text, host, told_severity)
    SELECT noted.cause, noted.state, noted.severity, noted.text, noted.host, noted.severity
    FROM noted
    WHERE (noted.state <> 'ok' OR EXISTS (SELECT FROM janitor_causes AS old WHERE old.cause = noted.cause))
      AND (
            %(fencing_token)s = 0
            OR EXISTS (
                SELECT FROM janitor_jobs
                WHERE job = %(job)s AND host = '' AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
            )
        )
    ORDER BY noted.cause
    ON CONFLICT (cause) DO UPDATE SET
        state = excluded.state,
        severity = excluded.severity,
        text = excluded.text,
        host = excluded.host,
        noted_at = now(),
        previous_state = CASE WHEN known.state = excluded.state THEN known.previous_state ELSE known.state END,
        broken_since = CASE WHEN known.state = 'ok' AND excluded.state <> 'ok' THEN now() ELSE known.broken_since END,
        since = CASE WHEN known.state = excluded.state THEN known.since ELSE now() END,
        changes = CASE
            WHEN known.state = excluded.state THEN known.changes
            ELSE ARRAY(
                SELECT change FROM unnest(known.changes) AS change
                WHERE change > now() - make_interval(hours => %(unstable_hours)s)
            ) || now()
        END,
        unstable_since = CASE
            WHEN known.state <> excluded.state AND known.unstable_since IS NULL AND (
                SELECT count(*) + 1 FROM unnest(known.changes) AS change
                WHERE change > now() - make_interval(hours => %(unstable_hours)s)
            ) >= %(unstable_changes)s THEN now()
            ELSE known.unstable_since
        END,
        told_at = CASE
            WHEN known.state = excluded.state THEN known.told_at
            WHEN known.unstable_since IS NOT NULL THEN
                CASE WHEN excluded.severity > known.told_severity THEN now() ELSE known.told_at END
            WHEN excluded.severity = 0 OR excluded.severity > known.severity THEN now()
            WHEN (
                SELECT count(*) + 1 FROM unnest(known.changes) AS change
                WHERE change > now() - make_interval(hours => %(unstable_hours)s)
            ) >= %(unstable_changes)s THEN now()
            ELSE known.told_at
        END,
        told_severity = CASE
            WHEN known.unstable_since IS NULL THEN greatest(excluded.severity, known.severity)
            ELSE greatest(excluded.severity, known.told_severity)
        END
    WHERE known.state <> 'ok' OR excluded.state <> 'ok'
    RETURNING cause, state, previous_state, text, host, broken_since, told_at, unstable_since
)
INSERT INTO janitor_notices (cause, kind, state, text, host, broken_since)
SELECT
    cause,
    CASE
        WHEN unstable_since = now() THEN 'unstable'
        WHEN state = 'ok' THEN 'recovered'
        WHEN previous_state = 'ok' THEN 'first'
        ELSE 'worse'
    END,
    state, text, host, broken_since
FROM written
WHERE told_at = now()
RETURNING id, cause, kind
