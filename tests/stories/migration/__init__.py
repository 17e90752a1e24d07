"""Stories of executions on their way to a provider, when nobody is in the way."""
