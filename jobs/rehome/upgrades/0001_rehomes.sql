-- What became of the last try to bring an execution's copy to the primary provider.
--   tries            how often it failed since it last succeeded
--   next_at          before this time no run tries again; NULL: the next one does
--   execution_token  the fencing token of that try's claim: the same answer is recorded once
--   was_copied       false where the primary provider already had an equal copy
CREATE TABLE janitor_rehomes (
    execution_id     BIGINT PRIMARY KEY,
    execution_token  BIGINT NOT NULL,
    from_provider_id INTEGER NOT NULL,
    from_uri         TEXT NOT NULL,
    to_provider_id   INTEGER NOT NULL,
    tries            INTEGER NOT NULL DEFAULT 0,
    next_at          TIMESTAMPTZ,
    error_code       TEXT,
    error            TEXT,
    was_copied       BOOLEAN,
    size_bytes       BIGINT,
    rehomed_at       TIMESTAMPTZ
);

-- To find the few copies that are not at the primary provider among millions that are.
CREATE INDEX janitor_migrations_providers ON janitor_migrations (provider_id, execution_id) WHERE state = 'migrated';
