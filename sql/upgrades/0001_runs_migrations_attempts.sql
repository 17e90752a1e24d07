-- What the platform's tables cannot hold: each run's report, each migration's state and lease, each attempt.

CREATE TABLE janitor_runs (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host        TEXT        NOT NULL,
    process_id  INTEGER     NOT NULL,
    mode        TEXT        NOT NULL,
    version     TEXT        NOT NULL,
    started_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at TIMESTAMPTZ,
    exit_code   INTEGER,
    report      JSONB
);

-- One row for each execution that a run ever took up. The lease says who works on it; every take-over raises the
-- fencing token, and whoever holds an older token can change nothing any more.
CREATE TABLE janitor_migrations (
    execution_id     BIGINT PRIMARY KEY,
    uuid             TEXT        NOT NULL,
    state            TEXT        NOT NULL CHECK (state IN ('migrating', 'failed', 'refused', 'migrated')),
    local_copy       TEXT        NOT NULL DEFAULT 'kept' CHECK (local_copy IN ('kept', 'deleting', 'deleted')),
    host             TEXT        NOT NULL,
    run_id           BIGINT      NOT NULL,
    fencing_token    BIGINT      NOT NULL,
    lease_expires_at TIMESTAMPTZ,
    attempts         INTEGER     NOT NULL DEFAULT 0,
    error_code       TEXT,
    error            TEXT,
    provider_id      INTEGER,
    uri              TEXT,
    directory        TEXT,
    file_count       BIGINT,
    size_bytes       BIGINT,
    evidence         TEXT,
    manifest_sha256  TEXT,
    claimed_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    migrated_at      TIMESTAMPTZ,
    deleted_at       TIMESTAMPTZ
);

CREATE INDEX janitor_migrations_unfinished_deletions ON janitor_migrations (execution_id)
    WHERE local_copy = 'deleting';
CREATE INDEX janitor_migrations_leases ON janitor_migrations (run_id) WHERE lease_expires_at IS NOT NULL;

-- One row for each time that bytes of an execution were sent to a provider, written before the first of them.
--   open       bytes are being sent, or the run that sent them is dead
--   abandoned  it failed; what it stored lies there until the execution is migrated, here (then it is reused) or
--              elsewhere (then it is removed)
--   committed  the execution's row points at what it stored
--   settled    nothing of it is left to remove
-- foreign_objects says whether objects lay there that no attempt of ours had sent. It is NULL until somebody has looked:
-- such an attempt has sent nothing, so nothing there is its own.
CREATE TABLE janitor_attempts (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id    BIGINT      NOT NULL,
    run_id          BIGINT      NOT NULL,
    host            TEXT        NOT NULL,
    fencing_token   BIGINT      NOT NULL,
    provider_id     INTEGER     NOT NULL,
    key_prefix      TEXT        NOT NULL,
    state           TEXT        NOT NULL CHECK (state IN ('open', 'abandoned', 'committed', 'settled')),
    foreign_objects BOOLEAN,
    error_code      TEXT,
    error           TEXT,
    started_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at     TIMESTAMPTZ
);

CREATE INDEX janitor_attempts_of_execution ON janitor_attempts (execution_id);
CREATE INDEX janitor_attempts_unsettled ON janitor_attempts (execution_id) WHERE state IN ('open', 'abandoned');
