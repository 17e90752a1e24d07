-- damaged_since: when the file on the host's disk was first found not to hold what was written, while a provider has it.
ALTER TABLE janitor_backups ADD COLUMN damaged_since TIMESTAMPTZ;
