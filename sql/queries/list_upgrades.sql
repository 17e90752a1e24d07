SELECT number, name, sha256 FROM janitor_upgrades ORDER BY number
