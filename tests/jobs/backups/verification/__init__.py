"""Backups proven by restoring them."""
