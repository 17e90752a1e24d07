"""Copies of backups at providers: sending, proving, fetching and deleting them, and sending one by mail."""
