-- Copies whose turn it is to be read back: first those never audited where they are now, then those audited longest ago.
SELECT execution_id, size_bytes, is_new
FROM (
    (
        SELECT migration.execution_id, coalesce(migration.size_bytes, 0) AS size_bytes, true AS is_new, NULL AS audited_at
        FROM janitor_migrations AS migration
        WHERE migration.state = 'migrated'
          AND NOT EXISTS (
                SELECT FROM janitor_audits AS audit
                WHERE audit.execution_id = migration.execution_id
                  AND audit.uri = migration.uri
                  AND audit.provider_id = migration.provider_id
            )
        ORDER BY migration.execution_id
        LIMIT %(page_size)s
    )
    UNION ALL
    (
        SELECT audit.execution_id, coalesce(migration.size_bytes, 0) AS size_bytes, false AS is_new, audit.audited_at
        FROM janitor_audits AS audit
        JOIN janitor_migrations AS migration
            ON migration.execution_id = audit.execution_id
            AND migration.uri = audit.uri
            AND migration.provider_id = audit.provider_id
        WHERE audit.audited_at < now() - make_interval(days => %(days)s)
          AND migration.state = 'migrated'
        ORDER BY audit.audited_at
        LIMIT %(page_size)s
    )
) AS due
ORDER BY is_new DESC, audited_at, execution_id
LIMIT %(page_size)s
