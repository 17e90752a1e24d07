-- One row for each week and mail address, written before the first byte of the message.
--   due_on   the local day on which the report was due
--   sent_to  the recipients; no secret
--   tries    how often it may have arrived: never more than twice, unless an operator asks for it
--   sent_at  when the mail server took it
CREATE TABLE janitor_weekly_reports (
    due_on     DATE        NOT NULL,
    sent_to    TEXT        NOT NULL,
    tries      INTEGER     NOT NULL DEFAULT 1,
    claimed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    sent_at    TIMESTAMPTZ,
    PRIMARY KEY (due_on, sent_to)
);
