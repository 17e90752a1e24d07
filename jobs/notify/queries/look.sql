-- What the tables of the program say of causes of trouble: those that are open, how each job of each host and of the
-- platform last ended, when an execution was last migrated, as far as the last attempts say, which providers fail, what
-- all of them are called and which the policy wants, which runs of this host have no lease any more, the first
-- executions of those in quarantine, and whether any waits for its next try.
SELECT
    (
        SELECT coalesce(json_object_agg(cause, text), '{}') FROM janitor_causes WHERE state <> 'ok'
    ) AS open_causes,
    (
        SELECT coalesce(json_agg(json_build_object(
            'job', job, 'host', host, 'tries', tries, 'outcome', last_outcome, 'error', last_error,
            'is_ended', finished_at IS NOT NULL,
            'hours_since_good', extract(epoch FROM now() - last_good_at) / 3600,
            'hours_since_start', extract(epoch FROM now() - last_started_at) / 3600
        )), '[]')
        FROM janitor_jobs
    ) AS jobs,
    (
        SELECT extract(epoch FROM now() - max(finished_at)) / 86400
        FROM (SELECT state, finished_at FROM janitor_attempts ORDER BY id DESC LIMIT 500) AS recent
        WHERE state = 'committed'
    )::double precision AS days_since_migration,
    (
        SELECT coalesce(json_agg(json_build_object(
            'id', health.provider_id, 'name', provider.nombre, 'error', health.error,
            'needs_a_person', health.needs_a_person, 'error_code', health.error_code
        )), '[]')
        FROM janitor_provider_health AS health
        JOIN cloud_providers AS provider ON provider.id = health.provider_id
        WHERE provider.activo
    ) AS failing_providers,
    (
        SELECT coalesce(json_object_agg(id::text, nombre), '{}') FROM cloud_providers
    ) AS provider_names,
    (
        SELECT coalesce(json_agg(wanted.id ORDER BY wanted.id), '[]')
        FROM (
            SELECT to_jsonb(config) AS policy FROM ejecuciones_config AS config ORDER BY config.id DESC LIMIT 1
        ) AS latest
        CROSS JOIN LATERAL (
            SELECT latest.policy ->> 'nube_primaria_id' AS id
            UNION
            SELECT jsonb_array_elements_text(
                CASE
                    WHEN jsonb_typeof(latest.policy -> 'nubes_alternativas') = 'array'
                    THEN latest.policy -> 'nubes_alternativas'
                END
            )
        ) AS wanted
        WHERE wanted.id IS NOT NULL
    ) AS wanted_providers,
    (
        SELECT coalesce(json_agg(json_build_object(
            'id', run.id, 'process_id', run.process_id, 'job', job.job
        ) ORDER BY run.id), '[]')
        FROM janitor_runs AS run
        JOIN janitor_jobs AS job ON job.run_id = run.id AND job.finished_at IS NULL
        WHERE run.host = %(host)s AND run.finished_at IS NULL AND run.lease_expires_at < now()
    ) AS runs_without_sign,
    (
        SELECT coalesce(json_agg(quarantined), '[]')
        FROM (
            SELECT migration.uuid, migration.error
            FROM janitor_migrations AS migration
            JOIN ejecuciones_yaml AS execution
                ON execution.id = migration.execution_id AND execution.uuid::text = migration.uuid
            WHERE migration.quarantined_at IS NOT NULL AND execution.migrado_a_nube IS NOT TRUE
            ORDER BY migration.quarantined_at
            LIMIT %(most)s
        ) AS quarantined
    ) AS quarantined,
    EXISTS (
        SELECT
        FROM janitor_migrations AS migration
        JOIN ejecuciones_yaml AS execution
            ON execution.id = migration.execution_id AND execution.uuid::text = migration.uuid
        WHERE migration.next_try_at > now() AND execution.migrado_a_nube IS NOT TRUE
    ) AS any_waits_after_failures
