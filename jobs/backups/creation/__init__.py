"""Makes full backups and exact differentials."""
