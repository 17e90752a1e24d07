-- Copies at a provider that were not whole when they were last read back, that nobody has proven since, and that rows
-- still point to.
SELECT audit.execution_id
FROM janitor_audits AS audit
JOIN ejecuciones_yaml AS execution ON execution.id = audit.execution_id
WHERE audit.state <> 'whole'
  AND audit.provider_id = %(provider_id)s
  AND execution.migrado_a_nube
  AND execution.ruta_nube = audit.uri
  AND execution.nube_provider_id = audit.provider_id
  AND janitor_is_known_bad(audit.execution_id, audit.provider_id, audit.uri)
ORDER BY audit.execution_id
