"""The settings from the environment, a `.env` file and `janitor.toml`, checked once at the start."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path
from typing import TypeVar

from config.declared import Computed, Sources, declared, load, schema_of, variables_of
from config.errors import ConfigurationError
from config.reading.config_file import read_config_file
from config.reading.dotenv_file import DotenvError, add_dotenv
from config.text.amounts import OFF, Timetable, parse_bandwidth, parse_duration, parse_size
from config.text.names import nearest, unknown
from config.text.parsers import choice, directories, hours, integer, path
from config.text.time_zones import host_time_zone, time_zone

DEFAULT_TRANSFERS = 16
MAXIMUM_TRANSFERS = 256
MAXIMUM_PROCESSES = 64

OUR_PREFIX = "JANITOR_"
NOT_OURS = frozenset(("TMPDIR",))
"""Names that resemble ours but belong to other programs."""

SLIP_OF_THE_PEN = 0.8
"""How similar a name without our prefix must be to one of ours to count as a typing error."""

Kind = TypeVar("Kind")

parse_transfers = integer(1, MAXIMUM_TRANSFERS)
"""How many transfers may run at the same time. Raises `AmountError`."""


def _parse_processes(written: str) -> int | None:
    return None if written == OFF else integer(1, MAXIMUM_PROCESSES)(written)


def _host_name(_environment: Mapping[str, str]) -> str:
    return socket.gethostname()


def _default_lock_directory(environment: Mapping[str, str]) -> Path:
    """`/run/lock` is on tmpfs, so the lock can be taken even when the disk is full.

    `tempfile.gettempdir` is unsuitable: it picks a directory with room, so on a full disk two runs could find
    different directories, or none at all.
    """
    shared = "/run/lock"
    return Path(shared if os.access(shared, os.W_OK) else environment.get("TMPDIR") or "/tmp")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the whole program, without a password in its repr; those of each job come from `of`."""

    database_url: str = declared(
        "DATABASE_URL",
        str,
        default="",
        shown="libpq's `PG*`",
        secret=True,
        essential=True,
        example="postgresql://janitor:password@localhost:5432/sage",
        spanish="Base de datos de la plataforma, como URI de libpq; sin ella valen las variables PG* de libpq.",
        english="The platform's database, as a libpq URI: `postgresql://user:password@host:5432/database`, with "
        "special characters in the password percent-encoded. Without it libpq's own `PGHOST`, `PGUSER`, `PGPASSWORD`, "
        "`PGDATABASE`, `~/.pgpass` and so on are used.",
    )
    roots: tuple[str, ...] = declared(
        "JANITOR_ROOTS",
        directories,
        default="",
        essential=True,
        example="/srv/sage/ejecuciones",
        spanish="Directorios de las ejecuciones, separados por ':'. Sin ella no se borra ninguna copia local.",
        english="Directories in which executions may live, `:` between them, absolute, without symbolic links; **while "
        "it is not set, no local copy is ever deleted**. A row that points elsewhere is refused.",
    )
    temp_directory: Path = declared(
        "TEMP_DIR",
        path,
        default="./tmp",
        spanish="Directorio del que se borran los archivos temporales antiguos; uno propio, solo para ellos.",
        english="Where old temporary files are deleted: regular files directly in it, nothing else. Refused (exit code "
        "2, though all other jobs are done) where others keep files: the system's and users' directories, `/tmp` and "
        "`/var/tmp` themselves, all of `/var/lib`, `/var/mail`, `/var/spool` and `/var/backups`, the program's, the "
        "working, log, lock and backup directories, whatever contains one of these, roots and what is in them, "
        "whatever is, contains or lies in the `ruta` of a `local` provider, a directory that holds `.git`, `.env`, "
        "`PG_VERSION` or `janitor_daemon.py`. A file named `*.manifest.json` is never deleted.",
    )
    temp_retention_hours: float = declared(
        "TEMP_RETENTION_HOURS",
        hours,
        default="24",
        unit="hours",
        spanish="Horas que ha de tener un archivo temporal para borrarlo.",
        english="How old temporary files must be to be deleted.",
    )
    log_directory: Path = declared(
        "JANITOR_LOG_DIR",
        path,
        default="logs",
        spanish="Directorio del registro, janitor_daemon.log.",
        english="Holds `janitor_daemon.log`, rotated. Like `JANITOR_LOCK_DIR`, refused (exit code 2) in a root, where "
        "it would be migrated with an execution.",
    )
    log_format: str = declared(
        "JANITOR_LOG_FORMAT",
        choice("text", "json"),
        default="text",
        spanish="Formato del registro: 'text' o 'json'.",
        english="`text`, or `json`: one object per line, with a stable English `event`.",
    )
    lock_directory: Path = declared(
        "JANITOR_LOCK_DIR",
        path,
        default=Computed(_default_lock_directory, shown="`/run/lock`, else the temporary directory"),
        example="/run/lock",
        spanish="Directorio de los bloqueos: de cada trabajo, un solo proceso por máquina.",
        english="Holds the locks that allow one run of each job at a time on a host. A second lock that needs no "
        "directory keeps runs apart that name different ones.",
    )
    host: str = declared(
        "JANITOR_HOST",
        str,
        default=Computed(_host_name, shown="the host's name"),
        example="sage-1",
        spanish="Nombre de esta máquina entre las que comparten la base de datos: estable y único.",
        english="This host's name among those that share the database: stable and unique.",
    )
    named_time_zone: tzinfo | None = declared(
        "JANITOR_TIMEZONE",
        time_zone,
        shown="the host's",
        example="Europe/Madrid",
        spanish="Zona horaria de los horarios y de cuanto se lee, como Europe/Madrid; por defecto, la de la máquina.",
        english="Time zone of all schedules, and of the times in the log, in messages and in what commands show, by "
        "its name, such as `Europe/Madrid`.",
    )
    transfers: int = declared(
        "JANITOR_TRANSFERS",
        parse_transfers,
        default=str(DEFAULT_TRANSFERS),
        spanish="Cuántos ficheros se transfieren a la vez, de 1 a 256.",
        english="How many files are sent at the same time, 1 to 256.",
    )
    processes: int | None = declared(
        "JANITOR_PROCESSES",
        _parse_processes,
        shown="as many as processors, at most 4",
        example="4",
        spanish="Cuántos procesos se reparten el trabajo, de 1 a 64; por defecto uno por procesador, hasta 4.",
        english="How many processes share the work, 1 to 64. Each has its part of the transfers. They share a run with "
        "32 or more executions to migrate (each has a session in the database then, and none of the three limits below "
        "may be set), otherwise each execution of 10,000 files or more, or, on SFTP, of 256 MiB or more in files that "
        "are large (without a limit of the bandwidth).",
    )
    bandwidth: Timetable = declared(
        "JANITOR_BANDWIDTH_LIMIT",
        parse_bandwidth,
        default=OFF,
        shown="none",
        example="08:00,512k 19:00,10M 23:00,off",
        spanish="Cuánto se envía por segundo entre todas las transferencias: 20M; o según la hora local.",
        english="How much all transfers together may send per second: one value, or by the local time of day, as "
        "`--bandwidth-limit`.",
    )
    max_duration_seconds: float | None = declared(
        "JANITOR_MAX_DURATION",
        parse_duration,
        default=OFF,
        shown="none",
        example="5h",
        spanish="No se empieza ninguna ejecución pasado este tiempo, con unidad: 5h, 1h30m.",
        english="After so long a run begins no further execution, as with `--max-duration`. With a unit.",
    )
    max_bytes: int | None = declared(
        "JANITOR_MAX_BYTES",
        parse_size,
        default=OFF,
        shown="none",
        example="100G",
        spanish="No se empieza ninguna ejecución con la que se enviaría más que esto, con unidad: 100G.",
        english="Once so much was sent a run begins no further execution, as with `--max-bytes`. With a unit.",
    )
    max_attempts: int = declared(
        "JANITOR_MAX_ATTEMPTS",
        integer(1, 1000),
        default="5",
        spanish="En cuántos ciclos puede fallar una ejecución, de 1 a 1000, antes de quedar en cuarentena (retry).",
        english="In how many runs an execution may fail, 1 to 1000, before it is put in quarantine: no run takes it up "
        "until `retry`. Failures of a provider as a whole, of the host or of the database do not count.",
    )
    secret_keys: str = declared(
        "JANITOR_SECRET_KEYS",
        str,
        default="",
        secret=True,
        spanish="Claves de los secretos cifrados en secretos_nube, la más nueva primero, separadas por comas.",
        english="Fernet keys for credentials kept encrypted in `secretos_nube`, newest first, separated by commas.",
    )
    backup_directory: Path = declared(
        "BACKUP_PATH",
        path,
        default="backups",
        spanish="Directorio de las copias de seguridad de la base de datos: nada de ahí es temporal.",
        english="Where backups of the database are kept. Nothing there is taken for a temporary file. Refused by the "
        "job `backup` (exit code 2) in a root, where it would be migrated with an execution.",
    )
    config_file: Path = declared(
        "JANITOR_CONFIG",
        path,
        default="janitor.toml",
        spanish="Fichero TOML con las listas que no caben en una variable.",
        english="The TOML file with the lists that fit no variable. It may be absent unless this is set.",
    )

    unknown_variables: tuple[str, ...] = ()
    """Unknown names that were set, in Spanish: each name, with the one probably meant."""

    sources: Sources = field(default=Sources({}), repr=False, compare=False)
    """The sources of the jobs' settings."""

    def of(self, kind: type[Kind]) -> Kind:
        """The settings of a job, by their dataclass. Raises `ConfigurationError`."""
        return load(kind, self.sources)

    @property
    def unfinished_directory(self) -> Path:
        """Where providers note, for the next run of this host, what they could not finish."""
        return self.log_directory.absolute() / "unfinished-uploads"

    @property
    def time_zone(self) -> tzinfo:
        """The time zone of the jobs' schedules: the configured one, else the host's."""
        return self.named_time_zone or host_time_zone(self.sources.environment)


def load_settings(environment: Mapping[str, str] | None = None, jobs: Callable[[], Sequence[type]] = tuple) -> Settings:
    """Read the settings from `environment`, or from the process's own after adding variables that only `.env` has.

    `.env` is looked for in the working directory only. `jobs` returns the dataclasses of the jobs' settings; it is
    called only if they might declare something that is set. `janitor.toml` is checked against them. `Settings.of`
    checks their variables, so that a wrong one stops only its job. Raises `ConfigurationError`, also if the working
    directory is gone and a file is expected in it.
    """
    names_in_file: tuple[str, ...] = ()
    if environment is None:
        _require_working_directory(os.environ)
        names_in_file = _add_dotenv(Path(".env"))
        environment = os.environ
    settings = load(Settings, Sources(environment))
    file = read_config_file(settings.config_file, must_exist=bool(environment.get("JANITOR_CONFIG")))
    if file.path is not None:
        file.require_nothing_but({name: kind for job in jobs() for name, kind in schema_of(job).items()})
    unknown_variables = _unknown_variables(environment, names_in_file, jobs)
    return replace(settings, unknown_variables=unknown_variables, sources=Sources(environment, file))


def _add_dotenv(file: Path) -> tuple[str, ...]:
    try:
        return add_dotenv(file)
    except DotenvError as error:
        raise ConfigurationError(f".env: {error} (en {Path.cwd()})") from error


def _require_working_directory(environment: Mapping[str, str]) -> None:
    """It may have been deleted, and perhaps created again, since the process entered it. That is harmless if the
    environment is complete and nothing is looked for there.
    """
    paths = (environment.get(name, "") for name in ("TEMP_DIR", "JANITOR_LOG_DIR"))
    if environment.get("DATABASE_URL") and all(written.startswith("/") for written in paths):
        return
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ConfigurationError(
            "el directorio de trabajo ya no existe; entre con cd en el directorio del .env del programa y repita"
        ) from error


def _unknown_variables(
    environment: Mapping[str, str], names_in_file: Iterable[str], jobs: Callable[[], Sequence[type]]
) -> tuple[str, ...]:
    """The environment holds many variables of others, so only our prefix counts there; a `.env` is written for us."""
    known = _names_declared_by(Settings)
    with_prefix = {name for name in environment if name.upper().startswith(OUR_PREFIX)}
    if {*with_prefix, *names_in_file} <= known:
        return ()
    known = known.union(*map(_names_declared_by, jobs()))
    alike = {name for name in {*names_in_file} - known - NOT_OURS if nearest(name, known, SLIP_OF_THE_PEN)}
    return tuple(unknown(name, known) for name in sorted((with_prefix - known) | alike))


def _names_declared_by(kind: type) -> frozenset[str]:
    return frozenset(variable.name for variable in variables_of(kind))
