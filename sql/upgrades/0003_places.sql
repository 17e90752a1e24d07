-- A place in the cloud belongs to one execution of one installation. What is needed to know whose a place is.

-- At most one row, of id 1. installation is in every manifest. origin tells on which server, and in which database
-- there, this row was written: a copy of the database is another installation, and gets another name.
CREATE TABLE janitor_installation (
    id           SMALLINT PRIMARY KEY CHECK (id = 1),
    installation TEXT NOT NULL,
    origin       TEXT NOT NULL
);

-- store is the real store (an address and a bucket, container or directory), whichever row of cloud_providers led to it;
-- '' for attempts that are older than this column. place is key_prefix as a store sees it that folds names.
-- closed_until: deletions were sent to this place, and an answer is missing: one may arrive until then. closed_by is the
-- run that has sent them, 0 where there were several.
ALTER TABLE janitor_attempts
    ADD COLUMN store TEXT NOT NULL DEFAULT '',
    ADD COLUMN place TEXT COLLATE "C",
    ADD COLUMN closed_until TIMESTAMPTZ,
    ADD COLUMN closed_by BIGINT;

UPDATE janitor_attempts SET place = lower(key_prefix);
ALTER TABLE janitor_attempts ALTER COLUMN place SET NOT NULL;

CREATE INDEX janitor_attempts_places ON janitor_attempts (place);

-- What fecha_ejecucion said when the execution was taken up: an execution that was repeated since is another one.
ALTER TABLE janitor_migrations ADD COLUMN executed_at TIMESTAMPTZ;
