"""Databases for tests: as the platform and `init-db` leave them, and lent to one test at a time."""
