-- Providers in use, with what runs remember of their failures.
SELECT
    provider.id AS provider_id,
    provider.nombre AS provider,
    extract(epoch FROM health.since)::double precision AS since
FROM cloud_providers AS provider
LEFT JOIN janitor_provider_health AS health ON health.provider_id = provider.id
WHERE provider.activo
