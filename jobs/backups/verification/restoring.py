"""Restores backups as anybody can: `gunzip -c FILE | psql`, the full one and then the differential."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from pathlib import Path

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.creation.compression import inflated_here
from jobs.backups.creation.dump import environment, require_no_interruption
from jobs.backups.creation.programs import Programs
from jobs.backups.errors import RestoreFailed
from sql.snapshots import program_address


def restore(programs: Programs, database_url: str, backup: Path, interruption: threading.Event) -> None:
    """Load one file into a database.

    Raises `RestoreFailed`, `DamagedBackup`, `BackupInterrupted` and `OSError`; the database holds a part of a full
    backup then, and nothing of a differential.
    """
    address = program_address(database_url)
    command = [
        programs.psql,
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
        f"--dbname={address.parameters}",
    ]
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(  # noqa: S603 a program of PostgreSQL
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints, env=environment(address)
            )
        except OSError as error:
            raise RestoreFailed(f"no se puede ejecutar {programs.psql}: {reason_of(error)}") from error
        try:
            _feed(process, backup, interruption)
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        complaints.seek(0)
        said = [line for line in complaints.read().decode("utf-8", "replace").splitlines() if line.strip()]
    if code != 0:
        raise RestoreFailed(f"psql terminó con {code} al restaurar {backup.name}: {one_line(' · '.join(said[-3:]))}")


def _feed(process: subprocess.Popen[bytes], backup: Path, interruption: threading.Event) -> None:
    assert process.stdin is not None  # noqa: S101 for the type checker
    with contextlib.suppress(BrokenPipeError):  # it ended, and says why
        for block in inflated_here(backup, 0, backup.stat().st_size):
            require_no_interruption(interruption)
            process.stdin.write(block)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
