-- One look through a large table, where no run has looked lately: the executions still to be migrated if they are not too
-- many, and the last id.
SELECT
    coalesce(array_agg(pending.id), '{}')::text AS execution_ids,
    (SELECT coalesce(max(id), 0) FROM ejecuciones_yaml) AS after_id,
    count(*) > %(look_size)s AS is_cut
FROM (SELECT id FROM ejecuciones_yaml WHERE migrado_a_nube IS NOT TRUE LIMIT %(look_size)s + 1) AS pending
