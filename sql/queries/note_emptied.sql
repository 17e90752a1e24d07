-- Written when the set-aside directory is empty, right before its own removal: the removal then counts as seen even if
-- the run is killed before it records it.
UPDATE janitor_migrations
SET emptied_in = %(parent)s
WHERE execution_id = %(execution_id)s
  AND fencing_token = %(fencing_token)s
  AND deletion_token = fencing_token
  AND local_copy = 'deleting'
RETURNING 1
