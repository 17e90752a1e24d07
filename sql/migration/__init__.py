"""What the database knows of executions on their way to a provider, and of their local copies."""
