"""Executions on their way to a provider."""
