UPDATE janitor_runs
SET finished_at = now(), exit_code = %(exit_code)s, report = %(report)s::jsonb
WHERE id = %(run_id)s
