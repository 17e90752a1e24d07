"""What the environment (and a `.env` file) says, checked once at the start."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from config.amounts import OFF, UNLIMITED, AmountError, Timetable, parse_bandwidth, parse_duration, parse_size

DEFAULT_TRANSFERS = 16
MAXIMUM_TRANSFERS = 256
MAXIMUM_PROCESSES = 64

Amount = TypeVar("Amount")


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


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment`, or from the process's own after adding what `.env` has and it lacks.

    `.env` is looked for in the working directory only. Raises `ConfigurationError`.
    """
    if environment is None:
        _add_dotenv(Path(".env"))
        environment = os.environ
    return Settings(
        database_url=environment.get("DATABASE_URL", ""),
        temp_directory=Path(environment.get("TEMP_DIR") or "./tmp"),
        temp_retention_hours=_hours(environment, "TEMP_RETENTION_HOURS", default=24.0),
        roots=_roots(environment.get("JANITOR_ROOTS", "")),
        log_directory=Path(environment.get("JANITOR_LOG_DIR") or "logs"),
        log_format=_log_format(environment.get("JANITOR_LOG_FORMAT") or "text"),
        lock_directory=Path(environment.get("JANITOR_LOCK_DIR") or _default_lock_directory(environment)),
        host=environment.get("JANITOR_HOST") or socket.gethostname(),
        transfers=_amount(environment, "JANITOR_TRANSFERS", parse_transfers, default=str(DEFAULT_TRANSFERS)),
        bandwidth=_amount(environment, "JANITOR_BANDWIDTH_LIMIT", parse_bandwidth),
        max_duration_seconds=_amount(environment, "JANITOR_MAX_DURATION", parse_duration),
        max_bytes=_amount(environment, "JANITOR_MAX_BYTES", parse_size),
        processes=_amount(environment, "JANITOR_PROCESSES", _parse_processes),
    )


def _add_dotenv(path: Path) -> None:
    if not os.path.lexists(path):
        return
    from dotenv import load_dotenv  # with what it imports, slower to load than the rest of this room together

    try:
        load_dotenv(path, override=False)
    except OSError as error:
        raise ConfigurationError(f".env: no se puede leer: {error.strerror}") from error
    except ValueError:  # its words would quote what the file says
        raise ConfigurationError(".env: no es un texto en UTF-8, o tiene un carácter nulo") from None


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
