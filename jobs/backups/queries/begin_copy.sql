-- A run that was overtaken begins nothing. What was there before is no copy until the provider has proven it again.
INSERT INTO janitor_backup_copies (id_backup, provider_id, store, key)
SELECT %(id)s, %(provider_id)s, %(store)s, %(key)s
WHERE EXISTS (SELECT FROM janitor_jobs WHERE job = %(job)s AND fencing_token = %(fencing_token)s)
ON CONFLICT (id_backup, provider_id, store) DO UPDATE SET
    key = excluded.key, begun_at = now(), size_bytes = NULL, sha256 = NULL, evidence = NULL, stored_at = NULL,
    deleted_at = NULL
RETURNING id_backup
