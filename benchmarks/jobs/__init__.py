"""The other jobs: audits, backups, logs, temporary files."""
