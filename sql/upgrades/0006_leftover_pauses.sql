-- What failed attempts left at a provider that refuses to have it removed: it is asked less and less often.
--   removal_tries    how often the removal was refused
--   removal_next_at  before this time no run tries again; NULL: the next one does
ALTER TABLE janitor_attempts
    ADD COLUMN removal_tries   INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN removal_next_at TIMESTAMPTZ;
