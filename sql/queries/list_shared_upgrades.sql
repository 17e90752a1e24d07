-- For a database that an earlier version has made, before jobs had upgrades of their own.
SELECT '' AS job, number, name, sha256 FROM janitor_upgrades ORDER BY number
