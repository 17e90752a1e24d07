INSERT INTO janitor_backup_copies (id_backup, provider_id, store, key, size_bytes, sha256, evidence, stored_at)
VALUES (%(id)s, %(provider_id)s, %(store)s, %(key)s, %(size_bytes)s, %(sha256)s, %(evidence)s, now())
ON CONFLICT (id_backup, provider_id, store) DO UPDATE SET
    key = excluded.key, size_bytes = excluded.size_bytes, sha256 = excluded.sha256, evidence = excluded.evidence,
    stored_at = now(), missing_since = NULL, deleted_at = NULL
