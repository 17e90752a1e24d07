"""Bounds of what is read of tables that take longer to scan than an operator waits."""

from __future__ import annotations

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""A table of this size, some 300,000 executions, takes longer to scan than a run takes to start."""

HUGE_TABLE_BYTES = 256 * 1024 * 1024
"""Over a table of this size, some 1,500,000 executions, an operator does not wait for a single scan, either."""

PENDING_SAMPLE = {"rows_read": 100_000, "sampled_pages": 500}
"""Of such a table `status` reads the rows with the last ids, and so many pages of the others."""

SIZES_REPORTED = 1000
"""Of twice as many executions that one provider received on one day, a report reads about so many sizes."""

EXECUTIONS_REPORTED = 300_000
"""Of a large table a report counts the new ones among this many rows with the last ids."""

SAMPLE_OF_STORED = {"large_table_bytes": LARGE_TABLE_BYTES, "sampled_rows": 20_000}
"""What `count_stored` of the metrics takes: of larger tables it reads this many rows."""
