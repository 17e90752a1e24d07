"""Finds time zones by name, and the host's own; `zoneinfo` is loaded only when one is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from config.logs import one_line
from config.text.amounts import AmountError

HOSTS_ZONE = Path("/etc/localtime")


def time_zone(written: str) -> tzinfo:
    """The time zone of a name such as `Europe/Madrid`. Raises `AmountError`, which quotes the name."""
    found = _zone(written)
    if found is not None:
        return found
    if _zone("UTC") is None:
        raise AmountError("nombra una zona horaria, y este equipo no conoce ninguna: instale el paquete tzdata")
    raise AmountError(f"nombra la zona {one_line(written)!r}, que no se conoce; debe ser como Europe/Madrid o UTC")


def host_time_zone(environment: Mapping[str, str]) -> tzinfo:
    """The zone that this host uses: what `TZ` names, else `/etc/localtime`, else UTC, as the C library does."""
    named = _zone(environment.get("TZ", "").removeprefix(":"))
    if named is not None:
        return named
    from zoneinfo import ZoneInfo

    try:
        with HOSTS_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file, key=_name_of(HOSTS_ZONE))
    except (OSError, ValueError):
        return UTC


def show_times_in(zone: tzinfo) -> None:
    """Have the log and messages of this process, and of those that it starts, use the local time of a named zone.

    Where only Python's own package knows the zone, and not the C library, they keep the host's.
    """
    earlier = os.environ.get("TZ")
    os.environ["TZ"] = str(zone)
    time.tzset()
    now = datetime.now(UTC)
    if now.astimezone().utcoffset() == now.astimezone(zone).utcoffset():
        return
    if earlier is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = earlier
    time.tzset()


def _zone(name: str) -> tzinfo | None:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name, or another file than a zone's; a directory
        return None


def _name_of(file: Path) -> str | None:
    """The zone's name, taken from a link into the system's zone files, for display."""
    return str(file.resolve()).partition("/zoneinfo/")[2] or None
