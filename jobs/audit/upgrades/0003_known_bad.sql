-- Whether the audit has found a copy lost or damaged since it was last proven, which each commit at its place does. All
-- that removes bytes of an execution asks this about the copy that is to remain. The function runs with the rights of its
-- owner, so that a role that may not read janitor_audits is answered, too; it tells no more than yes or no.
CREATE FUNCTION janitor_is_known_bad(asked_execution BIGINT, asked_provider INTEGER, asked_uri TEXT) RETURNS BOOLEAN
LANGUAGE plpgsql STABLE SECURITY DEFINER AS $known$
BEGIN
    RETURN EXISTS (
        SELECT FROM janitor_audits AS audit
        WHERE audit.execution_id = asked_execution
          AND audit.provider_id = asked_provider
          AND audit.uri = asked_uri
          AND audit.state <> 'whole'
          AND audit.audited_at > coalesce(
                (
                    SELECT max(attempt.finished_at) FROM janitor_attempts AS attempt
                    WHERE attempt.execution_id = audit.execution_id
                      AND attempt.provider_id = audit.provider_id
                      AND attempt.state = 'committed'
                ),
                '-infinity'
            )
    );
END
$known$;

GRANT EXECUTE ON FUNCTION janitor_is_known_bad(BIGINT, INTEGER, TEXT) TO PUBLIC;

-- Without this, a caller's own tables would be found first.
DO $path$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION janitor_is_known_bad(BIGINT, INTEGER, TEXT) SET search_path = %I, pg_temp', current_schema()
    );
END
$path$;
