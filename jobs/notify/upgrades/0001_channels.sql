-- The channels by which notices go, by their names without secrets. known_since: a channel gets the notices from a day
-- before. failing_since, failures, last_error: since it last took a message. Before not_before it is given none.
CREATE TABLE janitor_channels (
    channel       TEXT PRIMARY KEY,
    known_since   TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_good_at  TIMESTAMPTZ,
    failing_since TIMESTAMPTZ,
    failures      INTEGER     NOT NULL DEFAULT 0,
    last_error    TEXT,
    not_before    TIMESTAMPTZ
);

-- One row for each notice and channel, written before the first byte of the message that holds it.
--   attempts      how often it may have arrived: never more than twice
--   attempt       the sending that is under way, or was cut off; NULL once the channel has refused it
--   delivered_at  when the channel took it
--   unknown_at    when it was repeated as a notice with a number of its own, as nobody knows whether it arrived
CREATE TABLE janitor_deliveries (
    notice_id    BIGINT   NOT NULL REFERENCES janitor_notices (id) ON DELETE CASCADE,
    channel      TEXT     NOT NULL,
    attempts     SMALLINT NOT NULL CHECK (attempts BETWEEN 0 AND 2),
    attempt      TEXT,
    claimed_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    delivered_at TIMESTAMPTZ,
    unknown_at   TIMESTAMPTZ,
    PRIMARY KEY (notice_id, channel)
);
