"""Restoring lost rows from what providers store."""
