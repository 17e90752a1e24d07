-- The oldest month of the audit trail, if all of it is old enough. The function deletes and records that; this role may
-- not delete from the trail itself.
SELECT pruned.month, pruned.deleted
FROM janitor_jobs AS job
CROSS JOIN LATERAL janitor_prune_audit(%(days)s, job.held_by) AS pruned
WHERE job.job = %(job)s AND job.host = '' AND job.fencing_token = %(fencing_token)s AND job.lease_expires_at > now()
