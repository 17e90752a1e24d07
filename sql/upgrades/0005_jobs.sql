-- What is known of each job's runs. A job of a host has a row for each host, one of the platform a single row, of host ''.
-- fencing_token is raised by every run that takes the job up; who read an older one has been overtaken.
-- held_by is the host of the run that took it up last. lease_expires_at is for jobs of the platform alone: before that
-- time no other host takes it up. The kernel's locks guard a host's own.
-- tries counts the runs that began since the last good one, but for those that were merely interrupted.
-- last_good_at is when the last good run began. finished_at is NULL while a run goes on, and after it was killed.
CREATE TABLE janitor_jobs (
    job              TEXT        NOT NULL,
    host             TEXT        NOT NULL,
    run_id           BIGINT      NOT NULL,
    held_by          TEXT        NOT NULL,
    fencing_token    BIGINT      NOT NULL,
    lease_expires_at TIMESTAMPTZ,
    tries            INTEGER     NOT NULL,
    last_started_at  TIMESTAMPTZ NOT NULL,
    last_good_at     TIMESTAMPTZ,
    finished_at      TIMESTAMPTZ,
    last_outcome     TEXT,
    last_error       TEXT,
    PRIMARY KEY (job, host)
);

-- One row for each time that a run did a job. outcome is NULL while it goes on, and after it was killed.
CREATE TABLE janitor_job_runs (
    run_id      BIGINT      NOT NULL,
    job         TEXT        NOT NULL,
    host        TEXT        NOT NULL,
    started_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at TIMESTAMPTZ,
    outcome     TEXT CHECK (outcome IN ('done', 'failed', 'interrupted', 'put_off')),
    counts      JSONB,
    error       TEXT,
    PRIMARY KEY (run_id, job)
);
