"""What the environment (and a `.env` file) says, checked once at the start."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from config.dotenv_file import DotenvError, add_dotenv
from config.text.amounts import OFF, UNLIMITED, AmountError, Timetable, parse_bandwidth, parse_duration, parse_size
from config.text.names import nearest, unknown

DEFAULT_TRANSFERS = 16
MAXIMUM_TRANSFERS = 256
MAXIMUM_PROCESSES = 64

Amount = TypeVar("Amount")


class Variable(StrEnum):
    """Every variable of the environment that the program reads, but for those of others (`PG*`, `TMPDIR`)."""

    DATABASE_URL = "DATABASE_URL"
    TEMP_DIR = "TEMP_DIR"
    TEMP_RETENTION_HOURS = "TEMP_RETENTION_HOURS"
    BACKUP_PATH = "BACKUP_PATH"
    ROOTS = "JANITOR_ROOTS"
    LOG_DIR = "JANITOR_LOG_DIR"
    LOG_FORMAT = "JANITOR_LOG_FORMAT"
    LOCK_DIR = "JANITOR_LOCK_DIR"
    HOST = "JANITOR_HOST"
    TRANSFERS = "JANITOR_TRANSFERS"
    PROCESSES = "JANITOR_PROCESSES"
    BANDWIDTH_LIMIT = "JANITOR_BANDWIDTH_LIMIT"
    MAX_DURATION = "JANITOR_MAX_DURATION"
    MAX_BYTES = "JANITOR_MAX_BYTES"
    SECRET_KEYS = "JANITOR_SECRET_KEYS"  # noqa: S105 a name, not a secret


OUR_PREFIX = "JANITOR_"
NOT_OURS = frozenset(("TMPDIR",))
"""A name that is like one of ours, and is another's."""

SLIP_OF_THE_PEN = 0.8
"""How much a name without our prefix must be like one of ours to be taken for it."""


class ConfigurationError(Exception):
    """The settings cannot be used. The message is in Spanish: what is wrong and what to do, without secrets."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The process's settings. `database_url` may hold a password, so it never shows in a repr."""

    database_url: str = field(repr=False)
    temp_directory: Path
    temp_retention_hours: float
    roots: tuple[str, ...]
    log_directory: Path
    log_format: str
    lock_directory: Path
    host: str
    transfers: int
    bandwidth: Timetable = UNLIMITED
    max_duration_seconds: float | None = None
    max_bytes: int | None = None
    processes: int | None = None
    """How many a run may use at the most; `None`: as many as there are processors for it, up to a few."""

    backup_directory: Path | None = None
    """Where backups are kept, if that is set: nothing there is a temporary file."""

    unknown_variables: tuple[str, ...] = ()
    """What was set under names that mean nothing, in Spanish: each name, and which one was probably meant."""


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment`, or from the process's own after adding what `.env` has and it lacks.

    `.env` is looked for in the working directory only. Raises `ConfigurationError`, also if that directory is gone
    and something is to be found in it.
    """
    names_in_file: tuple[str, ...] = ()
    if environment is None:
        _require_working_directory(os.environ)
        names_in_file = _add_dotenv(Path(".env"))
        environment = os.environ
    return Settings(
        database_url=environment.get(Variable.DATABASE_URL, ""),
        temp_directory=Path(environment.get(Variable.TEMP_DIR) or "./tmp"),
        temp_retention_hours=_hours(environment, Variable.TEMP_RETENTION_HOURS, default=24.0),
        roots=_roots(environment.get(Variable.ROOTS, "")),
        log_directory=Path(environment.get(Variable.LOG_DIR) or "logs"),
        log_format=_log_format(environment.get(Variable.LOG_FORMAT) or "text"),
        lock_directory=Path(environment.get(Variable.LOCK_DIR) or _default_lock_directory(environment)),
        host=environment.get(Variable.HOST) or socket.gethostname(),
        transfers=_amount(environment, Variable.TRANSFERS, parse_transfers, default=str(DEFAULT_TRANSFERS)),
        bandwidth=_amount(environment, Variable.BANDWIDTH_LIMIT, parse_bandwidth),
        max_duration_seconds=_amount(environment, Variable.MAX_DURATION, parse_duration),
        max_bytes=_amount(environment, Variable.MAX_BYTES, parse_size),
        processes=_amount(environment, Variable.PROCESSES, _parse_processes),
        backup_directory=_path_or_none(environment.get(Variable.BACKUP_PATH)),
        unknown_variables=_unknown_variables(environment, names_in_file),
    )


def _add_dotenv(path: Path) -> tuple[str, ...]:
    try:
        return add_dotenv(path)
    except DotenvError as error:
        raise ConfigurationError(f".env: {error} (en {Path.cwd()})") from error


def _require_working_directory(environment: Mapping[str, str]) -> None:
    """It may have been deleted, and perhaps made again, since somebody entered it: no harm if nothing is looked for
    there, as the environment says everything.
    """
    paths = (environment.get(name, "") for name in (Variable.TEMP_DIR, Variable.LOG_DIR))
    if environment.get(Variable.DATABASE_URL) and all(path.startswith("/") for path in paths):
        return
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ConfigurationError(
            "el directorio de trabajo ya no existe; entre con cd en el directorio del .env del programa y repita"
        ) from error


def _path_or_none(text: str | None) -> Path | None:
    return Path(text) if text else None


def _unknown_variables(environment: Mapping[str, str], names_in_file: Iterable[str]) -> tuple[str, ...]:
    """The environment holds much that is not ours, so there only our prefix tells; a `.env` is written for us."""
    known = frozenset(variable.value for variable in Variable)
    ours = {name for name in environment if name.upper().startswith(OUR_PREFIX)} - known
    ours |= {name for name in {*names_in_file} - known - NOT_OURS if nearest(name, known, SLIP_OF_THE_PEN)}
    return tuple(unknown(name, known) for name in sorted(ours))


def _hours(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not (math.isfinite(hours) and hours >= 0):
        raise ConfigurationError(f"{name} debe ser un número de horas mayor o igual que 0")
    return hours


def _roots(text: str) -> tuple[str, ...]:
    roots = tuple(dict.fromkeys(os.path.normpath(re.sub("/+", "/", part)) for part in text.split(":") if part))
    for root in roots:
        if not root.startswith("/") or root.strip("/") == "":
            raise ConfigurationError(
                f"JANITOR_ROOTS: {root!r} no sirve; indique directorios absolutos, separados por ':', y nunca '/'"
            )
    return roots


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise ConfigurationError("JANITOR_LOG_FORMAT debe ser 'text' o 'json'")
    return text


def parse_transfers(text: str) -> int:
    """How many transfers may go on at the same time. Raises `AmountError`."""
    return _whole_number(text, MAXIMUM_TRANSFERS)


def _parse_processes(text: str) -> int | None:
    return None if text == OFF else _whole_number(text, MAXIMUM_PROCESSES)


def _whole_number(text: str, most: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise AmountError(f"debe ser un número entero entre 1 y {most}")
    return int(text)


def _amount(environment: Mapping[str, str], name: str, parse: Callable[[str], Amount], default: str = OFF) -> Amount:
    try:
        return parse(environment.get(name) or default)
    except AmountError as error:
        raise ConfigurationError(f"{name} {error}") from error


def _default_lock_directory(environment: Mapping[str, str]) -> str:
    """`/run/lock` is on tmpfs, so a full disk does not keep the lock from being taken.

    `tempfile.gettempdir` will not do: it looks which directory has room, so when a disk is full two runs could find two
    different ones, or none at all.
    """
    shared = "/run/lock"
    return shared if os.access(shared, os.W_OK) else environment.get("TMPDIR") or "/tmp"  # noqa: S108
