-- Executions still to be migrated, oldest first: a limited number after the last one of the previous look, and the due
-- ones among them; on request, if these are all, also all of them with their dates, as text. A naive fecha_ejecucion is
-- read in the database's time zone, which is also the session's.
-- A row without a ruta_directorio is an execution that left no files.
WITH pending AS (
    SELECT id, fecha_ejecucion::timestamptz AS executed_at
    FROM ejecuciones_yaml
    WHERE migrado_a_nube IS NOT TRUE AND fecha_ejecucion IS NOT NULL AND ruta_directorio IS NOT NULL
),
oldest AS (
    SELECT id, executed_at
    FROM pending
    WHERE %(after_executed_at)s::timestamptz IS NULL
       OR (executed_at, id) > (%(after_executed_at)s::timestamptz, %(after_id)s)
    ORDER BY executed_at, id
    LIMIT %(look_size)s
),
gathered AS (
    SELECT
        coalesce(array_agg(id ORDER BY executed_at, id), '{}') AS execution_ids,
        coalesce(array_agg(executed_at ORDER BY executed_at, id), '{}') AS executed_at
    FROM oldest
)
SELECT
    execution_ids[
        :width_bucket(now() - make_interval(secs => %(retention_seconds)s), executed_at)
    ] AS due_ids,
    executed_at[cardinality(executed_at)]::text AS last_executed_at,
    execution_ids[cardinality(execution_ids)] AS last_id,
    (SELECT max(id) FROM ejecuciones_yaml) AS last_table_id,
    cardinality(execution_ids) < %(look_size)s AS is_last,
    CASE WHEN %(is_wanted)s AND cardinality(execution_ids) < %(look_size)s THEN execution_ids::text END AS execution_ids,
    CASE WHEN %(is_wanted)s AND cardinality(execution_ids) < %(look_size)s THEN executed_at::text END AS executed_at
FROM gathered
