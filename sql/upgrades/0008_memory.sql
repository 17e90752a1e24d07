-- What runs remember of earlier ones, and what operators have ordered.

-- failed_runs     runs in which the execution failed for a reason of its own since it was last migrated, retried or
--                 changed. A failure of its providers, its host or the database does not count
-- next_try_at     before this time no run takes it up; NULL: the next one does
-- quarantined_at  it failed in too many runs: no run takes it up until an operator says so (retry)
-- They concern the execution as uuid, directory and executed_at describe it; once its row says otherwise they are void.
ALTER TABLE janitor_migrations
    ADD COLUMN failed_runs    INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN next_try_at    TIMESTAMPTZ,
    ADD COLUMN quarantined_at TIMESTAMPTZ;

CREATE INDEX janitor_migrations_put_off ON janitor_migrations (execution_id)
    WHERE next_try_at IS NOT NULL OR quarantined_at IS NOT NULL;

-- Executions that an operator holds: no run migrates one, and none removes its local copy.
CREATE TABLE janitor_holds (
    execution_id BIGINT PRIMARY KEY,
    uuid         TEXT        NOT NULL,
    reason       TEXT        NOT NULL,
    held_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    host         TEXT        NOT NULL,
    os_user      TEXT        NOT NULL
);

-- Providers that failed as a whole, one row each until it works again; known to all hosts.
--   settings  identifies the settings with which it failed: with other ones it is tried at once
--   since     when it failed first; until: before this time no run contacts it
--   failures  how often it failed since; each lengthens the pause
CREATE TABLE janitor_provider_health (
    provider_id    INTEGER PRIMARY KEY,
    settings       TEXT        NOT NULL,
    since          TIMESTAMPTZ NOT NULL DEFAULT now(),
    until          TIMESTAMPTZ NOT NULL DEFAULT now(),
    failures       INTEGER     NOT NULL DEFAULT 1,
    error_code     TEXT        NOT NULL,
    error          TEXT        NOT NULL,
    needs_a_person BOOLEAN     NOT NULL,
    host           TEXT        NOT NULL,
    noted_at       TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- The audit trail: what operators ordered, and what runs did that no other table keeps. The daemon's role needs no more
-- than INSERT and SELECT. Attempts and commits are in janitor_attempts.
CREATE TABLE janitor_audit (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           TIMESTAMPTZ NOT NULL DEFAULT now(),
    event        TEXT        NOT NULL,
    execution_id BIGINT,
    uuid         TEXT,
    host         TEXT        NOT NULL,
    os_user      TEXT,
    command      TEXT,
    details      JSONB
);

CREATE INDEX janitor_audit_of_execution ON janitor_audit (uuid);
CREATE INDEX janitor_audit_by_time ON janitor_audit (at);

-- Deletes the oldest month of the audit trail if all of it is older than so many days, and records that in the trail.
-- It runs with the rights of its owner, so that the daemon's role can delete whole old months and nothing else.
-- Returns no row if there is no such month.
CREATE FUNCTION janitor_prune_audit(keep_days INTEGER, by_host TEXT) RETURNS TABLE (month TEXT, deleted BIGINT)
LANGUAGE plpgsql SECURITY DEFINER AS $prune$
DECLARE
    first_of_month TIMESTAMP := date_trunc('month', (SELECT min(at) FROM janitor_audit) AT TIME ZONE 'UTC');
    after_month    TIMESTAMPTZ := (first_of_month + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    IF after_month IS NULL OR after_month > now() - make_interval(days => greatest(keep_days, 31)) THEN
        RETURN;
    END IF;
    DELETE FROM janitor_audit WHERE at < after_month;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    month := to_char(first_of_month, 'YYYY-MM');
    INSERT INTO janitor_audit (event, host, details)
    VALUES ('audit_pruned', by_host, jsonb_build_object('month', month, 'rows', deleted));
    RETURN NEXT;
END
$prune$;

REVOKE ALL ON FUNCTION janitor_prune_audit(INTEGER, TEXT) FROM PUBLIC;

-- Without this, a caller's own tables would be found first.
DO $path$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION janitor_prune_audit(INTEGER, TEXT) SET search_path = %I, pg_temp', current_schema()
    );
END
$path$;
