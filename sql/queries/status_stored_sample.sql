-- What each provider holds, from a sample of the pages of two large tables: an estimate, made in a time that does not
-- grow with them.
WITH sampled AS (
    SELECT nube_provider_id AS provider_id, count(*) AS migrated
    FROM ejecuciones_yaml TABLESAMPLE SYSTEM (%(percent)s)
    WHERE migrado_a_nube
    GROUP BY nube_provider_id
),
sizes AS (
    SELECT provider_id, avg(file_count) AS file_count, avg(size_bytes) AS size_bytes
    FROM janitor_migrations TABLESAMPLE SYSTEM (%(percent)s)
    WHERE state = 'migrated'
    GROUP BY provider_id
)
SELECT
    sampled.provider_id,
    round(sampled.migrated * 100 / %(percent)s)::bigint AS migrated,
    round(coalesce(sampled.migrated * sizes.file_count, 0) * 100 / %(percent)s)::bigint AS file_count,
    round(coalesce(sampled.migrated * sizes.size_bytes, 0) * 100 / %(percent)s)::bigint AS size_bytes
FROM sampled
LEFT JOIN sizes ON sizes.provider_id = sampled.provider_id
ORDER BY sampled.provider_id
