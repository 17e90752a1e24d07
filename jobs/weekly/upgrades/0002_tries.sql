-- Which try was counted last: a claim that is sent twice, as an answer may be lost, counts once. NULL once it was refused.
ALTER TABLE janitor_weekly_reports ADD COLUMN attempt TEXT;
