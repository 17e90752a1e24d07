"""Deletes old temporary files."""
