"""All benchmarks in turn; `--small` in a size that shows that they work, and nothing about speed."""

from __future__ import annotations

import sys

from benchmarks import small_files

if "--small" in sys.argv[1:]:
    small_files.run(executions=10, files=20, rounds=2)
else:
    small_files.run(executions=200, files=100, rounds=5)
