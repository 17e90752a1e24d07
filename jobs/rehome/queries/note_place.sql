-- Written after looking at the place and before the first object is sent there, unless the claim was lost meanwhile.
UPDATE janitor_attempts AS attempt
SET foreign_objects = %(foreign_objects)s
WHERE attempt.id = %(attempt_id)s
  AND EXISTS (
      SELECT FROM janitor_migrations AS migration
      WHERE migration.execution_id = attempt.execution_id
        AND migration.fencing_token = attempt.fencing_token
        AND migration.state = 'migrated'
  )
RETURNING id
