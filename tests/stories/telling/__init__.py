"""Stories of what is told, to whom, and what must never be: logs, reports, exit codes, secrets."""
