-- The rights that a run needs and this role lacks. Checked before anything is sent: a refused commit would be too late.
WITH needed (table_name, column_name, right_name) AS (
    VALUES
        ('cloud_providers', NULL, 'SELECT'),
        ('ejecuciones_config', NULL, 'SELECT'),
        ('ejecuciones_yaml', NULL, 'SELECT'),
        ('ejecuciones_yaml', 'migrado_a_nube', 'UPDATE'),
        ('ejecuciones_yaml', 'ruta_nube', 'UPDATE'),
        ('ejecuciones_yaml', 'nube_provider_id', 'UPDATE'),
        ('janitor_runs', NULL, 'SELECT'),
        ('janitor_runs', NULL, 'INSERT'),
        ('janitor_runs', NULL, 'UPDATE'),
        ('janitor_jobs', NULL, 'SELECT'),
        ('janitor_jobs', NULL, 'INSERT'),
        ('janitor_jobs', NULL, 'UPDATE'),
        ('janitor_job_runs', NULL, 'SELECT'),
        ('janitor_job_runs', NULL, 'INSERT'),
        ('janitor_job_runs', NULL, 'UPDATE'),
        ('janitor_migrations', NULL, 'SELECT'),
        ('janitor_migrations', NULL, 'INSERT'),
        ('janitor_migrations', NULL, 'UPDATE'),
        ('janitor_attempts', NULL, 'SELECT'),
        ('janitor_attempts', NULL, 'INSERT'),
        ('janitor_attempts', NULL, 'UPDATE'),
        ('janitor_installation', NULL, 'SELECT'),
        ('janitor_installation', NULL, 'INSERT'),
        ('janitor_installation', NULL, 'UPDATE'),
        ('janitor_looks', NULL, 'SELECT'),
        ('janitor_looks', NULL, 'INSERT'),
        ('janitor_looks', NULL, 'UPDATE'),
        ('janitor_holds', NULL, 'SELECT'),
        ('janitor_provider_health', NULL, 'SELECT'),
        ('janitor_provider_health', NULL, 'INSERT'),
        ('janitor_provider_health', NULL, 'UPDATE'),
        ('janitor_provider_health', NULL, 'DELETE'),
        ('janitor_audit', NULL, 'INSERT')
)
SELECT right_name || ' en ' || string_agg(DISTINCT table_name, ', ') AS missing
FROM needed
WHERE NOT CASE
    WHEN right_name = 'DELETE' THEN has_table_privilege(table_name, right_name)
    WHEN column_name IS NULL THEN has_any_column_privilege(table_name, right_name)
    ELSE has_column_privilege(table_name, column_name, right_name)
END
GROUP BY right_name
ORDER BY 1
