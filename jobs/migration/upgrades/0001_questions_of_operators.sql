-- What `status` and `health` ask must be answered quickly over ten million executions. The platform's tables get no
-- index; these are on the program's own.
CREATE INDEX janitor_migrations_failures ON janitor_migrations (execution_id) WHERE state IN ('failed', 'refused');
CREATE INDEX janitor_migrations_deleted ON janitor_migrations (deleted_at) INCLUDE (size_bytes)
    WHERE deleted_at IS NOT NULL;
CREATE INDEX janitor_attempts_of_provider ON janitor_attempts (provider_id, id);
CREATE INDEX janitor_runs_of_host ON janitor_runs (host, id) INCLUDE (exit_code);
CREATE INDEX janitor_runs_unfinished ON janitor_runs (id) WHERE finished_at IS NULL;

-- lease_expires_at is renewed while a run works, so that a run that was killed on another host can be told from one that
-- is at work. NULL: an earlier version of the program has written the row.
ALTER TABLE janitor_runs ADD COLUMN lease_expires_at TIMESTAMPTZ;

-- The highest id of ejecuciones_yaml when the look was made: later executions are found by their ids. NULL: not known.
ALTER TABLE janitor_looks ADD COLUMN last_table_id BIGINT;
