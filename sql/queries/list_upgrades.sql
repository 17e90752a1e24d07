SELECT '' AS job, number, name, sha256 FROM janitor_upgrades
UNION ALL
SELECT job, number, name, sha256 FROM janitor_job_upgrades
ORDER BY job, number
