"""Executions on their way back."""
