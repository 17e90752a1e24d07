"""Where the checkout is, and what of it is the program."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

ROOMS = ("commands", "config", "demo", "files", "jobs", "providers", "sql", "storage")
"""The packages that are installed beside `janitor_daemon`."""
