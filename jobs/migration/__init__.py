"""Moves executions older than their retention to a provider, and brings them back."""
