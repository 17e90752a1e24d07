-- What a run found when it last looked through a large ejecuciones_yaml, for those after it. The platform's table may
-- have no index that tells what is still to be migrated, and must be given none.
-- table_state is what PostgreSQL had counted of the table's changes before the look: equal counts, nothing has changed.
-- The executions still to be migrated are in order of age, each with its date; at most one row, of id 1.
CREATE TABLE janitor_looks (
    id            SMALLINT PRIMARY KEY CHECK (id = 1),
    table_state   TEXT          NOT NULL,
    looked_at     TIMESTAMPTZ   NOT NULL,
    execution_ids BIGINT[]      NOT NULL,
    executed_at   TIMESTAMPTZ[] NOT NULL
);

-- Leftovers are read in order of attempts; by executions they are found by janitor_attempts_of_execution.
DROP INDEX janitor_attempts_unsettled;
CREATE INDEX janitor_attempts_unsettled ON janitor_attempts (id) WHERE state IN ('open', 'abandoned');
