-- A place in the cloud belongs to one execution of one installation. What is needed to know whose a place is.

-- At most one row, of id 1. installation is in every manifest. origin tells on which server, and in which database
-- there, this row was written: a copy of the database is another installation, and gets another name.
CREATE TABLE janitor_installation (
    id           SMALLINT PRIMARY KEY CHECK (id = 1),
    installation TEXT NOT NULL,
    origin       TEXT NOT NULL
);

-- store is the bucket, container or directory to which the row of cloud_providers led then: see providers/stores.py;
-- '' for attempts that are older than this column. place is key_prefix as a store sees it that makes no difference
-- between small and capital letters.
-- closed_until: deletions were sent to this place, and an answer is missing: one may arrive until then. closed_by is the
-- run that has sent them, 0 where there were several. tree_fingerprint tells whether the directory has changed since; it
-- is NULL once every request of the attempt was answered.
ALTER TABLE janitor_attempts
    ADD COLUMN store TEXT NOT NULL DEFAULT '',
    ADD COLUMN place TEXT COLLATE "C" GENERATED ALWAYS AS (lower(key_prefix)) STORED,
    ADD COLUMN closed_until TIMESTAMPTZ,
    ADD COLUMN closed_by BIGINT,
    ADD COLUMN tree_fingerprint TEXT;

CREATE INDEX janitor_attempts_places ON janitor_attempts (place);

-- executed_at is what fecha_ejecucion said when the execution was taken up: one that was repeated since is another one.
-- last_held_at is when a run that is dead, or was stopped, has last renewed its lease.
ALTER TABLE janitor_migrations
    ADD COLUMN executed_at TIMESTAMPTZ,
    ADD COLUMN last_held_at TIMESTAMPTZ;
