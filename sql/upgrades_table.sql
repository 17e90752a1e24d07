CREATE TABLE IF NOT EXISTS janitor_upgrades (
    number     INTEGER PRIMARY KEY,
    name       TEXT        NOT NULL,
    sha256     TEXT        NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
