-- A run that was overtaken begins nothing. What was there before is no copy until the provider has proven it again.
-- Until then sha256 is that of what is being stored, and evidence that of what is to be replaced: by these the next run
-- knows what it finds for its own.
INSERT INTO janitor_backup_copies (id_backup, provider_id, store, key, sha256, evidence)
SELECT %(id)s, %(provider_id)s, %(store)s, %(key)s, %(sha256)s, %(replaced_sha256)s
WHERE EXISTS (SELECT FROM janitor_jobs WHERE job = %(job)s AND fencing_token = %(fencing_token)s)
ON CONFLICT (id_backup, provider_id, store) DO UPDATE SET
    key = excluded.key, begun_at = now(), size_bytes = NULL, sha256 = excluded.sha256, evidence = excluded.evidence, stored_at = NULL,
    deleted_at = NULL
RETURNING id_backup
