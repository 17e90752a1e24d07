"""Stories of what operators learn, and of what nobody may: logs, reports, exit codes, secrets."""
