DELETE FROM janitor_provider_health WHERE provider_id = %(provider_id)s RETURNING since
