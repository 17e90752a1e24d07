UPDATE janitor_attempts SET foreign_objects = true WHERE id = %(attempt_id)s
