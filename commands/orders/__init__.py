"""What operators order of single executions: `hold`, `release`, `retry`."""
