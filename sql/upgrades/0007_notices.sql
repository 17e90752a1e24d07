-- What operators are told. One row for each cause of trouble that was ever seen, by its stable English name.
--   state           ok, degraded, failed or needs_person; severity is its rank, from 0
--   previous_state  the state before the last change
--   broken_since    when it was last left ok; since: when the state last changed; noted_at: when it was last looked at
--   changes         when the state has changed lately, for a cause that comes and goes
--   unstable_since  set while it comes and goes: then single changes are not told
--   told_at         when operators were last told; told_severity: the worst that they were told since it is unstable
CREATE TABLE janitor_causes (
    cause          TEXT PRIMARY KEY,
    state          TEXT          NOT NULL CHECK (state IN ('ok', 'degraded', 'failed', 'needs_person')),
    severity       SMALLINT      NOT NULL,
    previous_state TEXT          NOT NULL DEFAULT 'ok',
    text           TEXT          NOT NULL,
    host           TEXT          NOT NULL,
    broken_since   TIMESTAMPTZ   NOT NULL DEFAULT now(),
    since          TIMESTAMPTZ   NOT NULL DEFAULT now(),
    noted_at       TIMESTAMPTZ   NOT NULL DEFAULT now(),
    changes        TIMESTAMPTZ[] NOT NULL DEFAULT ARRAY[now()],
    unstable_since TIMESTAMPTZ,
    told_at        TIMESTAMPTZ   NOT NULL DEFAULT now(),
    told_severity  SMALLINT      NOT NULL
);

-- The outbox: one row for each thing to be told, written by the statement that changes the cause's state.
-- in_platform says whether it was copied into the platform's own notificaciones.
-- Where only_channel is set, it repeats for one channel a notice of which nobody knows whether it arrived.
CREATE TABLE janitor_notices (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause        TEXT        NOT NULL,
    kind         TEXT        NOT NULL CHECK (
        kind IN ('first', 'worse', 'recovered', 'unstable', 'reminder')
    ),
    state        TEXT        NOT NULL,
    text         TEXT        NOT NULL,
    host         TEXT        NOT NULL,
    broken_since TIMESTAMPTZ NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    in_platform  BOOLEAN     NOT NULL DEFAULT false,
    only_channel TEXT,
    repeats      BIGINT
);

CREATE INDEX janitor_notices_for_platform ON janitor_notices (id) WHERE NOT in_platform;
