CREATE TABLE IF NOT EXISTS janitor_upgrades (
    number     INTEGER PRIMARY KEY,
    name       TEXT        NOT NULL,
    sha256     TEXT        NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Those of single jobs, each with numbers of its own. A table beside the other one, as an earlier version of the program
-- reads that one by number alone.
CREATE TABLE IF NOT EXISTS janitor_job_upgrades (
    job        TEXT        NOT NULL,
    number     INTEGER     NOT NULL,
    name       TEXT        NOT NULL,
    sha256     TEXT        NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (job, number)
);
