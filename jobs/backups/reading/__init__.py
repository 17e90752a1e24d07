"""Reads a database at one moment: its tables, locked and counted, and what `pg_dump` writes of them."""
