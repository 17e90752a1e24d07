SELECT
    provider_id AS id, settings, since, until, failures, error_code, error, needs_a_person, until > now() AS is_paused
FROM janitor_provider_health
