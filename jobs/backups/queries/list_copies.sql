SELECT id_backup, provider_id, store, key, size_bytes, sha256, evidence, stored_at, missing_since
FROM janitor_backup_copies
WHERE deleted_at IS NULL
ORDER BY id_backup, provider_id
