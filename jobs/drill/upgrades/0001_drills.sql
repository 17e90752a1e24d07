-- Each restore that was tried out: how long it took, and what was wrong with it, if anything.
CREATE TABLE janitor_drills (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    drilled_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    host         TEXT             NOT NULL,
    execution_id BIGINT           NOT NULL,
    uuid         TEXT             NOT NULL,
    provider_id  INTEGER          NOT NULL,
    uri          TEXT             NOT NULL,
    is_good      BOOLEAN          NOT NULL,
    seconds      DOUBLE PRECISION NOT NULL,
    file_count   BIGINT           NOT NULL,
    size_bytes   BIGINT           NOT NULL,
    detail       TEXT
);
