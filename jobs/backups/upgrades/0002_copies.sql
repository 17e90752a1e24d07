-- The copies of backups at providers. A row is written before the first byte is sent; stored_at is set once the provider
-- has proven what it holds. store names the bucket or directory, as a provider's row may later point at another one.
-- missing_since: when a copy was first found to be gone by another hand. deleted_at: this program removed it.
CREATE TABLE janitor_backup_copies (
    id_backup     BIGINT NOT NULL,
    provider_id   INTEGER NOT NULL,
    store         TEXT NOT NULL,
    key           TEXT NOT NULL,
    begun_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    size_bytes    BIGINT,
    sha256        TEXT,
    evidence      TEXT,
    stored_at     TIMESTAMPTZ,
    missing_since TIMESTAMPTZ,
    deleted_at    TIMESTAMPTZ,
    PRIMARY KEY (id_backup, provider_id, store)
);

-- A backup that was found at a provider by 'backup rebuild' was never on the disk of this host.
ALTER TABLE janitor_backups ADD COLUMN found_at_provider BOOLEAN NOT NULL DEFAULT false;
