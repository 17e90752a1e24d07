-- Copies that an audit found lost or damaged, that nobody has proven since, and that rows still point to, by provider:
-- how many, since when, and the first of them.
SELECT
    audit.provider_id,
    count(*) AS count,
    min(audit.audited_at) AS since,
    (array_agg(execution.uuid::text ORDER BY audit.audited_at, audit.execution_id))[1] AS uuid,
    (array_agg(coalesce(audit.detail, '') ORDER BY audit.audited_at, audit.execution_id))[1] AS detail
FROM janitor_audits AS audit
JOIN ejecuciones_yaml AS execution ON execution.id = audit.execution_id
WHERE audit.state <> 'whole'
  AND execution.migrado_a_nube
  AND execution.ruta_nube = audit.uri
  AND execution.nube_provider_id = audit.provider_id
  AND janitor_is_known_bad(audit.execution_id, audit.provider_id, audit.uri)
GROUP BY audit.provider_id
ORDER BY audit.provider_id
