"""Bounds of what is read of tables that take longer to scan than an operator waits."""

from __future__ import annotations

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""A table of this size, some 300,000 executions, takes longer to scan than a run takes to start."""

EXECUTIONS_REPORTED = 300_000
"""Of a large table a report counts the new ones among this many rows with the last ids."""

SAMPLE_OF_STORED = {"large_table_bytes": LARGE_TABLE_BYTES, "sampled_rows": 50_000}
"""What `count_stored` of the metrics takes: of larger tables it reads this many rows."""
