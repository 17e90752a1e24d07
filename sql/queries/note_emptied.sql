-- Written when the directory that was set aside is empty, right before it is removed itself: a run that is killed
-- between that and the record has seen the removal all the same.
UPDATE janitor_migrations
SET emptied_in = %(parent)s
WHERE execution_id = %(execution_id)s
  AND fencing_token = %(fencing_token)s
  AND deletion_token = fencing_token
  AND local_copy = 'deleting'
RETURNING 1
