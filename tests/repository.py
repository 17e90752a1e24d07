"""Where the checkout is, and what of it is the program."""

from __future__ import annotations

import textwrap
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

PRODUCT_FOLDERS = ("commands", "config", "demo", "files", "jobs", "providers", "sql", "storage")
"""The packages that are installed beside `janitor_daemon`."""


def statements_of(document: str, heading: str) -> str:
    """The SQL that a document shows under a heading."""
    text = (REPOSITORY / "docs" / document).read_text(encoding="utf-8")
    part = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return textwrap.dedent(part.partition("```sql\n")[2].rpartition("```")[0])
