"""Keeps backups as long as they are needed, and deletes the rest."""
