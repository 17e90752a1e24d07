"""Finds the `pg_dump` and `psql` that fit a server: of its own version, or else the next newer one.

An older `pg_dump` refuses the server. A newer one writes what an older server may not read, so it is the second choice.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.errors import DiskError, NoFittingProgram

DEBIAN = Path("/usr/lib/postgresql")
WRAPPER = "pg_wrapper"
"""Debian's program behind /usr/bin/pg_dump, which chooses a version itself: those it chooses from are looked at."""

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "OPENSSL_CONF")
INHERITED_PREFIXES = ("LD_", "FAKETIME", "SSL_CERT_", "KRB5", "GSS")
PREFIX_OF_CLIENTS = "PG"

READ_COMPLAINT_BYTES = 4 * 1024 * 1024
"""More than the statement of a restore that fails has, which `psql` repeats after its message."""

VERSION = re.compile(r"\(PostgreSQL[^)]*\) (\d+)[.\w]*")
VERSION_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Programs:
    """A directory with `pg_dump` and `psql`."""

    directory: Path
    major: int
    version: str

    @property
    def pg_dump(self) -> str:
        """The path of `pg_dump`."""
        return str(self.directory / "pg_dump")

    @property
    def psql(self) -> str:
        """The path of `psql`."""
        return str(self.directory / "psql")


def file_for_complaints() -> BinaryIO:
    """A file without a name, in TMPDIR, for what a program complains. Raises `DiskError`."""
    try:
        return cast("BinaryIO", tempfile.TemporaryFile())
    except OSError as error:
        where = one_line(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 what is used without TMPDIR
        raise DiskError(
            f"no se pueden hacer ficheros temporales en {where} (TMPDIR): {reason_of(error)}; libere espacio allí o "
            "indique otro directorio en TMPDIR"
        ) from error


def complaints_in(file: BinaryIO) -> str:
    """The last of what a program has complained: it may do so without end."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - READ_COMPLAINT_BYTES))
    return file.read(READ_COMPLAINT_BYTES).decode("utf-8", "replace")


def inherited_environment(*, is_client: bool) -> dict[str, str]:
    """What a program of PostgreSQL needs of this process's environment, and none of its secrets.

    What a dump says may run programs with it. `is_client`: with the variables of libpq.
    """
    prefixes = (*INHERITED_PREFIXES, PREFIX_OF_CLIENTS) if is_client else INHERITED_PREFIXES
    kept = {name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(prefixes)}
    return {**kept, "LC_ALL": "C"}


def find_programs(server_major: int, server_version: str, directory: Path | None = None) -> Programs:
    """The programs of `directory` (`BACKUP_PG_BIN`), or else of PATH and of Debian's directories.

    Raises `NoFittingProgram`, which names every version found and its path.
    """
    found = list(_installed([directory] if directory else _usual_directories()))
    fitting = [programs for programs in found if programs.major >= server_major]
    if fitting:
        return min(fitting, key=lambda programs: programs.major)  # the first one of equals
    if not found:
        where = f"en {one_line(directory)} (BACKUP_PG_BIN)" if directory else "en PATH ni en /usr/lib/postgresql/*/bin"
        raise NoFittingProgram(
            f"no hay pg_dump y psql {where}; instale el paquete postgresql-client-{server_major} o ponga en "
            "BACKUP_PG_BIN el directorio en que están"
        )
    named = ", ".join(f"{programs.version} ({one_line(programs.pg_dump)})" for programs in found)
    raise NoFittingProgram(
        f"pg_dump {named} es anterior al servidor {one_line(server_version)}; instale el paquete "
        f"postgresql-client-{server_major} o ponga en BACKUP_PG_BIN el directorio de una versión {server_major} o mayor"
    )


def _usual_directories() -> Iterator[Path]:
    for name in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if Path(name).is_absolute() and (Path(name) / "pg_dump").resolve().name != WRAPPER:
            yield Path(name)
    yield from sorted(DEBIAN.glob("*/bin"))


def _installed(directories: Iterable[Path]) -> Iterator[Programs]:
    for directory in directories:
        if all(os.access(directory / name, os.X_OK) for name in ("pg_dump", "psql")):
            yield _asked(directory)


def _asked(directory: Path) -> Programs:
    program = directory / "pg_dump"
    try:
        answer = subprocess.run(  # noqa: S603 a program of PostgreSQL
            [str(program), "--version"], check=False, capture_output=True, text=True, timeout=VERSION_TIMEOUT_SECONDS
        )
    except OSError as error:
        raise NoFittingProgram(f"no se puede ejecutar {one_line(program)}: {reason_of(error)}") from error
    except subprocess.TimeoutExpired as error:
        raise NoFittingProgram(f"{one_line(program)} --version no responde") from error
    version = VERSION.search(answer.stdout)
    if answer.returncode != 0 or version is None:
        raise NoFittingProgram(f"{one_line(program)} --version no dice ninguna versión de PostgreSQL; reinstálelo")
    return Programs(
        directory, int(version[1]), answer.stdout[version.end(0) - len(version[0]) :].split(") ")[1].split()[0]
    )
