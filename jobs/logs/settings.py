"""What the environment says about logs: where they are, which names they have, how old they become."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.settings import ConfigurationError

DEFAULT_PATTERNS = "*.log,*.log.*"
YES = frozenset(("true", "1", "yes", "on", "sí", "si"))
NO = frozenset(("false", "0", "no", "off"))


@dataclass(frozen=True, slots=True)
class LogsSettings:
    """The settings of the job. It is on when there is any directory."""

    directories: tuple[Path, ...] = ()
    compression_enabled: bool = True
    compression_days: float = 7.0
    retention_days: float = 90.0
    patterns: tuple[str, ...] = tuple(DEFAULT_PATTERNS.split(","))
    hour: int = 4
    minute: int = 0

    def is_on(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.directories)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> LogsSettings:
        """Read the variables; an empty one counts as absent. Raises `ConfigurationError`.

        A retention of 0 would delete every compressed log, so it is an error like any other that cannot be meant.
        """
        return cls(
            directories=tuple(
                dict.fromkeys(Path(part) for part in environment.get("LOGS_PATH", "").split(":") if part)
            ),
            compression_enabled=_switch(environment, "LOGS_COMPRESSION_ENABLED", default=True),
            compression_days=_days(environment, "LOGS_COMPRESSION_DAYS", default="7"),
            retention_days=_retention(environment),
            patterns=_patterns(environment),
            hour=_number(environment, "LOGS_HOUR", default="4", most=23),
            minute=_number(environment, "LOGS_MINUTE", default="0", most=59),
        )


def _switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environment.get(name, "").strip().lower()
    if text and text not in YES | NO:
        raise ConfigurationError(f"{name} debe ser true o false")
    return text in YES if text else default


def _days(environment: Mapping[str, str], name: str, default: str) -> float:
    try:
        days = float(environment.get(name) or default)
    except ValueError:
        days = math.nan
    if not (math.isfinite(days) and days >= 0):
        raise ConfigurationError(f"{name} debe ser un número de días mayor o igual que 0")
    return days


def _retention(environment: Mapping[str, str]) -> float:
    try:
        days = _days(environment, "LOGS_RETENTION_DAYS", default="90")
    except ConfigurationError:
        days = 0.0
    if days == 0:
        raise ConfigurationError("LOGS_RETENTION_DAYS debe ser un número de días mayor que 0; no se borra nada")
    return days


def _patterns(environment: Mapping[str, str]) -> tuple[str, ...]:
    text = environment.get("LOGS_PATTERNS") or DEFAULT_PATTERNS
    patterns = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not patterns or any("/" in pattern for pattern in patterns):
        raise ConfigurationError("LOGS_PATTERNS debe tener nombres con comodines separados por ',', y ningún '/'")
    return patterns


def _number(environment: Mapping[str, str], name: str, default: str, most: int) -> int:
    text = environment.get(name) or default
    if not re.fullmatch("[0-9]{1,2}", text) or int(text) > most:
        raise ConfigurationError(f"{name} debe ser un número entero entre 0 y {most}")
    return int(text)
