-- Asked and written at once, before the directory is renamed: whether it may be removed, as in
-- deletion_seconds_left.sql, and which one it is, so that a later run can tell whether the trash name holds it.
WITH held AS (
{{deletion_seconds_left}}
),
noted AS (
    UPDATE janitor_migrations
    SET deletion_token = fencing_token, set_aside_inode = %(inode)s, emptied_in = NULL
    WHERE execution_id IN (SELECT execution_id FROM held WHERE is_wanted AND NOT is_held AND NOT is_known_bad)
      AND fencing_token = %(fencing_token)s
)
SELECT seconds_left, is_wanted, is_held, is_known_bad FROM held
