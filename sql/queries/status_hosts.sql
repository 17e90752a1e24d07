-- Every host that ever ran, with its last run that ended, its last good and its last bad one, and the longest pause
-- between its last runs. The hosts are found one after the other in the index.
WITH RECURSIVE known AS (
    (SELECT host FROM janitor_runs ORDER BY host LIMIT 1)
    UNION ALL
    SELECT (SELECT run.host FROM janitor_runs AS run WHERE run.host > known.host ORDER BY run.host LIMIT 1)
    FROM known
    WHERE known.host IS NOT NULL
)
SELECT
    known.host,
    latest.started_at AS last_started_at,
    ended.started_at AS ended_started_at, ended.finished_at AS ended_at, ended.mode, ended.exit_code, ended.report,
    good.started_at AS last_good_at,
    bad.started_at AS last_bad_at, bad.exit_code AS bad_exit_code, bad.report -> 'problems' AS bad_problems,
    pause.longest_seconds
FROM known
LEFT JOIN LATERAL (
    SELECT started_at FROM janitor_runs WHERE host = known.host ORDER BY id DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT started_at, finished_at, mode, exit_code, report
    FROM janitor_runs
    WHERE host = known.host AND exit_code IS NOT NULL
    ORDER BY id DESC
    LIMIT 1
) AS ended ON true
LEFT JOIN LATERAL (
    SELECT started_at FROM janitor_runs WHERE host = known.host AND exit_code = 0 ORDER BY id DESC LIMIT 1
) AS good ON true
LEFT JOIN LATERAL (
    SELECT started_at, exit_code, report
    FROM janitor_runs
    WHERE host = known.host AND exit_code NOT IN (0, 75)
    ORDER BY id DESC
    LIMIT 1
) AS bad ON true
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM max(seconds))::double precision AS longest_seconds
    FROM (
        SELECT lead(started_at) OVER (ORDER BY id) - started_at AS seconds
        FROM (SELECT id, started_at FROM janitor_runs WHERE host = known.host ORDER BY id DESC LIMIT 10) AS last_runs
    ) AS pauses
) AS pause ON true
WHERE known.host IS NOT NULL
ORDER BY known.host
