"""In what order, how many at a time and until when executions are migrated."""
