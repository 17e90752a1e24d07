-- The result of reading one copy back by an operator's order, as of before the reading began: while the row still points
-- there, and unless something newer is known of the copy. A date in the future is no newer one.
INSERT INTO janitor_audits AS audit (execution_id, provider_id, uri, audited_at, state, evidence, detail)
SELECT id, nube_provider_id, ruta_nube, %(begun)s, %(state)s, %(evidence)s, %(detail)s
FROM ejecuciones_yaml
WHERE id = %(execution_id)s
  AND migrado_a_nube
  AND ruta_nube = %(uri)s
  AND nube_provider_id = %(provider_id)s
ON CONFLICT (execution_id) DO UPDATE SET
    provider_id = excluded.provider_id, uri = excluded.uri, audited_at = excluded.audited_at, state = excluded.state,
    evidence = excluded.evidence, detail = excluded.detail
WHERE audit.audited_at < excluded.audited_at
   OR audit.audited_at > now()
   OR audit.uri <> excluded.uri
   OR audit.provider_id <> excluded.provider_id
RETURNING execution_id
