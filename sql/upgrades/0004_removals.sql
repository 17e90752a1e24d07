-- What the removal of a local copy has come to, so that a later run can tell what an earlier one removed from what is
-- missing for another reason, and so that one that fails again and again is tried less and less often.
--   deletion_tries    how often a run has taken up the removal since it was begun
--   deletion_next_at  before this time no run takes it up; NULL: the next one does
--   deletion_token    the fencing token under which the two columns below were written. What was written before the last
--                     commit, whose token is in janitor_attempts, is of an earlier removal and says nothing
--   set_aside_inode   the directory that was renamed, or was about to be; text, as inodes do not fit into a BIGINT
--   emptied_in        device and inode of the directory that holds it, written when it was empty and right before it was
--                     removed itself
ALTER TABLE janitor_migrations
    ADD COLUMN deletion_tries   INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN deletion_next_at TIMESTAMPTZ,
    ADD COLUMN deletion_token   BIGINT,
    ADD COLUMN set_aside_inode  TEXT,
    ADD COLUMN emptied_in       TEXT;
