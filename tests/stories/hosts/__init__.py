"""Stories of hosts and processes: several at once, stopped, killed, without disk or database."""
