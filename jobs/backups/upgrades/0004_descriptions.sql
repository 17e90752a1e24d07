-- description_sha256: the hash of the description beside a full backup, as it was made. NULL where nobody recorded it.
ALTER TABLE janitor_backups ADD COLUMN description_sha256 TEXT;
