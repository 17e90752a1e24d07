"""Directories with a `pg_dump` that lies, or that remembers, and the true `psql`."""

from __future__ import annotations

import shlex
import subprocess
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

IS_OF_ANOTHER_DATABASE = """
for argument; do
  shift
  case $argument in
    --snapshot=*) continue ;;
    --dbname=*) argument="$argument dbname=postgres" ;;
  esac
  set -- "$@" "$argument"
done
exec "$true" "$@"
"""


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


REMEMBERS = """#!/bin/bash
cd {directory}
[ "$1" = --version ] && {{ cat version; exit; }}
for argument; do case "$argument" in --section=*) section=${{argument#*=}} ;; esac; done
[ -f "$section" ] || {{ {program} "$@" > "$section.$$" && mv "$section.$$" "$section"; }}
cat "$section"
"""


def remembering_programs(binaries: Path, directory: Path) -> Path:
    """Make a directory of programs; `pg_dump` says for ever what it said first, which takes far less time.

    Each process has a file of its own until it has ended well: one that outlives a killed run writes beside the next.
    """
    directory.mkdir()
    program = binaries / "pg_dump"
    (directory / "version").write_bytes(subprocess.run([program, "--version"], check=True, capture_output=True).stdout)
    script = directory / "pg_dump"
    script.write_text(REMEMBERS.format(directory=shlex.quote(str(directory)), program=shlex.quote(str(program))))
    script.chmod(0o755)
    (directory / "psql").symlink_to(binaries / "psql")
    return directory
