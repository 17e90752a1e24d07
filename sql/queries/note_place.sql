-- Written after looking at the place and before the first object is sent there.
UPDATE janitor_attempts SET foreign_objects = %(foreign_objects)s WHERE id = %(attempt_id)s
