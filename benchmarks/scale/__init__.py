"""What must not grow with the executions, or with the hosts, that there are."""
