-- What the daemon knows of a backup beside its row of historial_backup: a table of the platform, which is never altered.
-- attempt names one making of a backup for good, so that an order which is sent twice is obeyed once.
-- host is where its files are. deleting_since is set before a file is removed, so that what vanished by another hand can
-- be told from what this program was removing when it was killed. missing_since: when it was first found to be gone.
CREATE TABLE janitor_backups (
    id_backup            BIGINT PRIMARY KEY,
    attempt              TEXT NOT NULL UNIQUE,
    host                 TEXT NOT NULL,
    sha256               TEXT,
    deleting_since       TIMESTAMPTZ,
    missing_since        TIMESTAMPTZ,
    verified_at          TIMESTAMPTZ,
    verification_seconds DOUBLE PRECISION,
    verification_error   TEXT
);
