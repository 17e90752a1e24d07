-- The result of reading one copy back, by the run that has the job, as of before the reading began: while the row still
-- points there, and unless something newer is known of the copy.
INSERT INTO janitor_audits AS audit (execution_id, provider_id, uri, audited_at, state, evidence, detail)
SELECT
    execution.id, execution.nube_provider_id, execution.ruta_nube, %(begun)s, %(state)s, %(evidence)s, %(detail)s
FROM janitor_jobs AS current, ejecuciones_yaml AS execution
WHERE current.job = %(job)s
  AND current.host = ''
  AND current.fencing_token = %(fencing_token)s
  AND current.lease_expires_at > now()
  AND execution.id = %(execution_id)s
  AND execution.migrado_a_nube
  AND execution.ruta_nube = %(uri)s
  AND execution.nube_provider_id = %(provider_id)s
ON CONFLICT (execution_id) DO UPDATE SET
    provider_id = excluded.provider_id, uri = excluded.uri, audited_at = excluded.audited_at, state = excluded.state,
    evidence = excluded.evidence, detail = excluded.detail
WHERE audit.audited_at < excluded.audited_at
   OR audit.uri <> excluded.uri
   OR audit.provider_id <> excluded.provider_id
RETURNING execution_id
