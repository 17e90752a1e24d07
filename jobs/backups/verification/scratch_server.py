"""An empty database for one trial: in a PostgreSQL server of its own, or in one that the operator names.

A shell removes it at the end, whatever happens to this process meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from config.logs import one_line, redactor
from config.text.times import size
from config.text.wording import reason_of
from jobs.backups.errors import NoScratchServer, require_no_interruption
from jobs.backups.files.description import HOW_VALUES_WERE_WRITTEN, Description, Locale
from jobs.backups.reading.dump import environment
from jobs.backups.reading.programs import Programs, inherited_environment
from jobs.backups.reading.source import values_of
from jobs.backups.templates import QUERIES, literal, render
from jobs.backups.verification.confinement import Confinement
from jobs.backups.verification.guardian import LONGEST_SECONDS, guarded
from sql.connection import database_password
from sql.errors import DatabaseError, SchemaError
from sql.snapshots import SnapshotSession, program_address, url_of_database

SUPERUSER = "janitor"
UNPRIVILEGED_ACCOUNTS = ("nobody", "postgres")
"""The second one may own the databases of this host."""

LOADER = re.compile(rb"\0(/[\w./+-]*/ld[\w.+-]*)\0")
BYTES_WITH_THE_LOADER = 16 * 1024
"""Its path comes right after the table of segments."""

DEVICES = ("/dev/null", "/dev/shm")  # noqa: S108 where PostgreSQL shares memory
RUNNABLE = ("sh", "mktemp", "rm", "cat", "sleep", "locale")
"""What the script below runs, and what `initdb` asks for the collations that there are."""

RUNNABLE_OF_POSTGRESQL = ("initdb", "pg_ctl", "postgres")

SETTINGS = ("listen_addresses=", "fsync=off", "full_page_writes=off", "synchronous_commit=off", "wal_level=logical")
USUAL_LOCKS = 64
TABLES_PER_LOCK = 10
"""The setting counts for each of a hundred connections: room for ten locks a table, of its indexes, keys and rows."""

BYTES_PER_PLAIN_BYTE = 2
"""How much a restored database takes, with its indexes, for each byte of its rows as text: a rough guess."""

IN_C = b"LOCALE 'C'"
ALLOW_TABLESPACES_WITHIN = b"SET allow_in_place_tablespaces = on"
PROVIDERS = {"c": b"libc", "i": b"icu", "b": b"builtin"}
FIRST_WITH_LOCALE_PROVIDERS = 15
BYTES_OF_A_CLUSTER = 100 * 1024 * 1024

OWN_SERVER = """
set -u
directory=$(mktemp -d "$2/janitor-verify-XXXXXXXXXX") || exit 1
data=$directory/data
remove() {
  [ ! -e "$data/postmaster.pid" ] || "$1/pg_ctl" -D "$data" -w -m immediate stop >&2 </dev/null
  rm -rf -- "$directory"
}
is_ready() {
  state=
  [ ! -e "$data/postmaster.pid" ] || while read -r line; do state=$line; done <"$data/postmaster.pid"
  case $state in ready*) true ;; *) false ;; esac
}
trap 'remove "$1"' EXIT
"$1/initdb" -D "$data" -U "$3" -A trust -E UTF8 --locale=C -N --no-instructions >&2 </dev/null || exit 1
printf '%s\\n' "$directory/log" "$1/postgres" -D "$data" -c "unix_socket_directories=$directory" $4 >&9
exec 9>&-
looks=3000
until is_ready; do
  looks=$((looks - 1))
  kill -0 "$SERVER_PROCESS" 2>/dev/null && [ "$looks" -gt 0 ] || { cat "$directory/log" >&2; exit 1; }
  sleep 0.1 2>/dev/null || sleep 1
done
printf '%s\\n' "$directory"
cat >/dev/null
"""
"""Arguments: the directory of the programs, where to make the directory, superuser, settings.

`pg_ctl` starts no server: it needs a shell for that, and the server gets none.
"""

OTHER_SERVER = """
printf 'ready\\n'
cat >/dev/null
printf '%s' "$3" | "$1" --no-psqlrc --quiet --no-password --set=ON_ERROR_STOP=1 "$2" >&2
"""
"""Arguments: psql, the server's address, the statements at the end."""


@contextlib.contextmanager
def scratch_database(programs: Programs, description: Description, interruption: threading.Event) -> Iterator[str]:
    """The libpq URI of an empty database of a server of its own, with the roles of a backup; both end with the context.

    Only this host reaches it. Raises `NoScratchServer`, `BackupInterrupted`.
    """
    _require_server_programs(programs)
    _require_space(description)
    locks = f"max_locks_per_transaction={USUAL_LOCKS + description.tables // TABLES_PER_LOCK}"
    settings = " ".join(f"-c {setting}" for setting in (*SETTINGS, locks))
    arguments = [str(programs.directory), tempfile.gettempdir(), SUPERUSER, settings]
    going_on = partial(require_no_interruption, interruption)
    inherited = inherited_environment(is_client=False)
    with guarded(OWN_SERVER, arguments, going_on, inherited, _confinement(programs)) as directory:
        url = f"postgresql://{SUPERUSER}@/{{}}?host={quote(directory, safe='')}"
        _prepare(url.format("postgres"), "scratch", description)
        _make_tablespaces(url.format("scratch"), description)
        yield url.format("scratch")


@contextlib.contextmanager
def scratch_database_on(
    server_url: str, programs: Programs, description: Description, interruption: threading.Event
) -> Iterator[str]:
    """The libpq URI of a new, empty database on a server; it is dropped when the context ends.

    Roles of the backup that the server has not are created, and dropped as well. Raises `NoScratchServer`,
    `BackupInterrupted`, `DatabaseError`.
    """
    redactor.add(database_password(server_url))
    name = f"janitor_verify_{secrets.token_hex(8)}"
    address = program_address(server_url)
    end = os.fsdecode(render("drop_scratch_database", name=name))
    going_on = partial(require_no_interruption, interruption)
    with guarded(OTHER_SERVER, [programs.psql, address.parameters, end], going_on, environment(address)):
        _prepare(server_url, name, description)
        yield url_of_database(server_url, name)


def _prepare(server_url: str, name: str, description: Description) -> None:
    """Make the database, and the roles that the server has not.

    Where the server has not the locale of the backup, it is C: most databases restore there, too. Nothing of it goes
    through `psql`, which runs programs for anybody who gets a line into what it reads. Roles are made from within the
    database, as their names are texts in its encoding.
    """
    names = [role.encode("utf-8", "surrogateescape") for role in description.roles]
    roles = [render("create_role", name=role.hex(), mark=literal(name.encode())) for role in names]

    def make_in(locale: bytes) -> None:
        made = render("create_scratch_database", name=name, encoding=description.encoding, locale=locale)
        _run(server_url, [made])

    try:
        make_in(_options(description.locale, description.server_major) if description.locale else IN_C)
    except NoScratchServer:
        make_in(IN_C)
    _run(url_of_database(server_url, name), roles)
    if description.settings != HOW_VALUES_WERE_WRITTEN:
        settings = {setting: literal(value.encode()) for setting, value in description.settings.items()}
        parts = (render("scratch_setting", name=name, setting=part, value=settings[part]) for part in settings)
        _run(server_url, parts)


def _make_tablespaces(scratch_url: str, description: Description) -> None:
    """Make them within the data directory, which PostgreSQL allows since 2022."""
    names = [name.encode("utf-8", "surrogateescape").replace(b'"', b'""') for name in description.tablespaces]
    if names:
        allowed = [b"SET client_encoding = " + literal(description.encoding.encode()), ALLOW_TABLESPACES_WITHIN]
        _run(scratch_url, [*allowed, *(render("create_tablespace", name=b'"' + name + b'"') for name in names)])


def _options(locale: Locale, server_major: int) -> bytes:
    """The options that make a new database order text as another one does."""
    provider = PROVIDERS[locale.provider]
    options = [(b"LC_COLLATE", locale.collate), (b"LC_CTYPE", locale.ctype)]
    options += [(provider.upper() + b"_LOCALE", locale.name)] if locale.name else []
    options += [(b"ICU_RULES", locale.rules)] if locale.rules else []
    chosen = b"LOCALE_PROVIDER %b " % provider if server_major >= FIRST_WITH_LOCALE_PROVIDERS else b""
    return chosen + b" ".join(b"%b %b" % (option, literal(value.encode())) for option, value in options)


def has_locale_of(database_url: str, description: Description) -> bool:
    """Whether a scratch database orders text as the one that was backed up, as far as anybody can tell."""
    try:
        with SnapshotSession(database_url, QUERIES) as session:
            return description.locale in (None, values_of(session).locale)
    except DatabaseError:
        return True


def locale_name(description: Description) -> str:
    """The locale to install if the server lacks it."""
    locale = description.locale
    return one_line(f"{locale.name or locale.collate}, {locale.ctype}" if locale else "?")


def _run(server_url: str, statements: Iterable[bytes]) -> None:
    """Raises `NoScratchServer`; what ran before the statement that failed stays."""
    try:
        with SnapshotSession(server_url, QUERIES) as session:
            session.commit_each()
            session.query("limit_time", {"limit": f"{LONGEST_SECONDS}s"})
            for statement in statements:
                session.run(statement)
    except DatabaseError as error:
        needed = (
            "; ahí hace falta CREATEDB y, para roles que no haya, CREATEROLE" if isinstance(error, SchemaError) else ""
        )
        raise NoScratchServer(f"el servidor de prueba no se pudo preparar: {one_line(error)}{needed}") from error


def _require_server_programs(programs: Programs) -> None:
    missing = [name for name in RUNNABLE_OF_POSTGRESQL if not os.access(programs.directory / name, os.X_OK)]
    if missing:
        raise NoScratchServer(
            f"falta {' y '.join(missing)} en {one_line(programs.directory)}: instale el paquete "
            f"postgresql-{programs.major} o diga en qué servidor probar (backup verify --server URL)"
        )


def _require_space(description: Description) -> None:
    try:
        directory = tempfile.gettempdir()
        free_bytes = shutil.disk_usage(directory).free
    except OSError as error:
        raise NoScratchServer(
            f"no hay directorio temporal en que restaurar la copia: {reason_of(error)}; indique otro en TMPDIR"
        ) from error
    needed_bytes = description.data_bytes * BYTES_PER_PLAIN_BYTE + BYTES_OF_A_CLUSTER
    if free_bytes < needed_bytes:
        raise NoScratchServer(
            f"en {one_line(directory)} quedan {size(free_bytes)} y restaurar la copia necesita unos "
            f"{size(needed_bytes)}; libere espacio o ponga otro directorio en TMPDIR"
        )


def _confinement(programs: Programs) -> Confinement:
    """The preparation may run the programs named here; the server runs none, reaches no other server, and writes below.

    The last program to be started before what a table's owner wrote is the server itself.
    """
    account = _account()
    own = [os.path.realpath(programs.directory / name) for name in RUNNABLE_OF_POSTGRESQL]
    found = [*own, *(os.path.realpath(path) for path in map(shutil.which, RUNNABLE) if path is not None)]
    writable, runnable, by_server = (tempfile.gettempdir(), *DEVICES), with_loaders(found), with_loaders(own[-1:])
    if account is None:
        return Confinement(writable, runnable, by_server)
    return Confinement(writable, runnable, by_server, account.pw_uid, account.pw_gid)


def with_loaders(programs: Sequence[str]) -> list[str]:
    """Programs, and the loaders that start them."""
    loaders = {loader for program in programs if (loader := loader_of(Path(program)))}
    return [*programs, *sorted(loaders)]


def loader_of(program: Path) -> str:
    """The program that loads another one with its libraries; empty where there is none, or the file is no ELF."""
    with program.open("rb") as file:
        beginning = file.read(BYTES_WITH_THE_LOADER)
    found = LOADER.search(beginning) if beginning.startswith(b"\x7fELF") else None
    return os.fsdecode(found[1]) if found else ""


def _require_name(user_id: int) -> None:
    """PostgreSQL does not start for a user without a name, as a container may run one."""
    try:
        pwd.getpwuid(user_id)
    except KeyError as error:
        raise NoScratchServer(
            f"el usuario con id {user_id} no figura en /etc/passwd, y PostgreSQL no arranca sin nombre de usuario: "
            "añádalo allí, ejecute el programa como otro usuario, o use otro servidor con backup verify --server URL"
        ) from error


def _account() -> pwd.struct_passwd | None:
    """The user and group that the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        _require_name(os.geteuid())
        return None
    found = []
    for name in UNPRIVILEGED_ACCOUNTS:
        with contextlib.suppress(KeyError):
            found.append(pwd.getpwnam(name))
    owner = Path(tempfile.gettempdir()).stat().st_uid
    if found:
        return min(found, key=lambda account: account.pw_uid != owner)  # the first one, unless the other has TMPDIR
    raise NoScratchServer("PostgreSQL no funciona como root y no existe el usuario postgres ni nobody")
