-- The result of reading one copy back, by the run that has the job.
INSERT INTO janitor_audits AS audit (execution_id, provider_id, uri, audited_at, state, evidence, detail)
SELECT %(execution_id)s, %(provider_id)s, %(uri)s, now(), %(state)s, %(evidence)s, %(detail)s
FROM janitor_jobs AS current
WHERE current.job = %(job)s
  AND current.host = ''
  AND current.fencing_token = %(fencing_token)s
  AND current.lease_expires_at > now()
ON CONFLICT (execution_id) DO UPDATE SET
    provider_id = excluded.provider_id, uri = excluded.uri, audited_at = excluded.audited_at, state = excluded.state,
    evidence = excluded.evidence, detail = excluded.detail
RETURNING execution_id
