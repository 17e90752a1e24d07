-- Asked once: afterwards the file knows it.
SELECT extract(epoch FROM finished_at)::double precision AS finished
FROM janitor_runs
WHERE host = %(host)s AND exit_code = 0 AND finished_at IS NOT NULL
ORDER BY id DESC
LIMIT 1
