-- When each copy was last read back by the rolling audit, and what was found. A copy that was moved since, as its uri and
-- provider show, counts as never audited.
CREATE TABLE janitor_audits (
    execution_id BIGINT PRIMARY KEY,
    provider_id  INTEGER     NOT NULL,
    uri          TEXT        NOT NULL,
    audited_at   TIMESTAMPTZ NOT NULL,
    state        TEXT        NOT NULL CHECK (state IN ('whole', 'lost', 'damaged')),
    evidence     TEXT        NOT NULL,
    detail       TEXT
);

CREATE INDEX janitor_audits_by_time ON janitor_audits (audited_at);
CREATE INDEX janitor_audits_bad ON janitor_audits (execution_id) WHERE state <> 'whole';
