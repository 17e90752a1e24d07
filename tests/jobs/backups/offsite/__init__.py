"""Backups at providers and in the mail."""
