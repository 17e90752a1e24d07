"""A directory with a `pg_dump` that lies, and the true `psql`."""

from __future__ import annotations

import shlex
from pathlib import Path

SCRIPT = """#!/bin/bash
true={program}
[ "$1" = --version ] && {{ {version}; exit; }}
case " $* " in *" --section={section} "*) ;; *) exec "$true" "$@" ;; esac
{lie}
"""

LIES = {
    "fails at the end": '"$true" "$@"; echo "pg_dump: error: it went wrong" >&2; exit 1',
    "ends early with 0": '"$true" "$@" | head -c 300; exit 0',
    "lacks its last lines": '"$true" "$@" | grep -v "database dump complete"; exit 0',
    "is empty": "exit 0",
    "is killed": '"$true" "$@" | head -c 300; kill -9 $$',
    "has something after its end": '"$true" "$@"; echo "SELECT 1;"; exit 0',
}


def lying_programs(binaries: Path, directory: Path, section: str, lie: str, version: str = "") -> Path:
    """Make a directory of programs; `pg_dump` lies about one section, and perhaps about its version."""
    directory.mkdir()
    told = f"echo {shlex.quote(f'pg_dump (PostgreSQL) {version}')}" if version else '"$true" --version'
    program = shlex.quote(str(binaries / "pg_dump"))
    script = directory / "pg_dump"
    script.write_text(SCRIPT.format(program=program, version=told, section=section, lie=lie))
    script.chmod(0o755)
    (directory / "psql").symlink_to(binaries / "psql")
    return directory
