"""A PostgreSQL server for the length of a trial, from the programs that are there, reachable only from this host."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.creation.description import Description
from jobs.backups.creation.programs import Programs
from jobs.backups.creation.statements import literal, render
from jobs.backups.errors import NoScratchServer

SUPERUSER = "janitor"
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
COMMAND_TIMEOUT_SECONDS = 120
SETTINGS = ("listen_addresses=", "fsync=off", "full_page_writes=off", "synchronous_commit=off", "wal_level=logical")


@contextlib.contextmanager
def scratch_database(programs: Programs, description: Description) -> Iterator[str]:
    """The libpq URI of an empty database of a server of its own, with the roles of a backup; both end with the context.

    Raises `NoScratchServer`.
    """
    _require_server_programs(programs)
    with tempfile.TemporaryDirectory(prefix="janitor-verify-") as name:
        directory = Path(name)
        account = _account()
        if account is not None:
            os.chown(directory, account.pw_uid, account.pw_gid)
        _run(
            programs,
            account,
            "initdb",
            "-D",
            f"{name}/data",
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        )
        options = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"unix_socket_directories={name}"))
        server = ("pg_ctl", "-D", f"{name}/data", "-l", f"{name}/log", "-w")
        _run(programs, account, *server, "-o", options, "start")
        try:
            url = f"postgresql://{SUPERUSER}@/{{}}?host={quote(name, safe='')}"
            _prepare(programs, url.format("postgres"), description)
            yield url.format("scratch")
        finally:
            _run(programs, account, *server, "-m", "immediate", "stop")


def _require_server_programs(programs: Programs) -> None:
    missing = [name for name in ("initdb", "pg_ctl", "postgres") if not os.access(programs.directory / name, os.X_OK)]
    if missing:
        raise NoScratchServer(
            f"falta {' y '.join(missing)} en {one_line(programs.directory)}: instale el paquete "
            f"postgresql-{programs.major} o diga en qué servidor probar (--server URL)"
        )


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoScratchServer("PostgreSQL no funciona como root y no existe el usuario postgres ni nobody")


def _run(programs: Programs, account: pwd.struct_passwd | None, name: str, *arguments: str) -> None:
    identity = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    try:
        ended = subprocess.run(  # type: ignore[call-overload] # noqa: S603 a program of PostgreSQL
            [str(programs.directory / name), *arguments], check=False, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, cwd="/", timeout=COMMAND_TIMEOUT_SECONDS, env={**os.environ, "LC_ALL": "C"}, **identity,
        )  # fmt: skip
    except OSError as error:
        raise NoScratchServer(
            f"no se puede ejecutar {one_line(programs.directory / name)}: {reason_of(error)}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoScratchServer(f"{name} no termina; mire el espacio y la carga de la máquina") from error
    if ended.returncode != 0:
        raise NoScratchServer(f"{name} terminó con {ended.returncode}: {one_line(ended.stderr.strip()[-300:])}")


def _prepare(programs: Programs, url: str, description: Description) -> None:
    names = [role.encode("utf-8", "surrogateescape") for role in description.roles]
    roles = b"".join(render("create_role", name=literal(name)) for name in names)
    statements = roles + render("create_scratch_database", encoding=description.encoding)
    ended = subprocess.run(  # noqa: S603 a program of PostgreSQL
        [programs.psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", url], input=statements, check=False,
        capture_output=True, timeout=COMMAND_TIMEOUT_SECONDS,
    )  # fmt: skip
    if ended.returncode != 0:
        raise NoScratchServer(
            f"el servidor de prueba no se pudo preparar: {one_line(ended.stderr.decode(errors='replace')[-300:])}"
        )
