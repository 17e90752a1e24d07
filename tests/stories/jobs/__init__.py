"""Stories of the tick and of the jobs beside the migration."""
