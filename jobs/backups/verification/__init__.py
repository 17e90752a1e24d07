"""Restores a backup, and proves that it holds what the database held."""
