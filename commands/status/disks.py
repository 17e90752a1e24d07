"""Looks at the disks of the program's own directories, without waiting for one that does not answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from commands.status.facts import Disk
from config.settings import Settings
from config.text.wording import reason_of

LONGEST_WAIT_SECONDS = 2.0
"""A network file system whose server is gone lets `statvfs` wait for ever."""


def look_at_disks(settings: Settings) -> tuple[Disk, ...]:
    """The disks of the roots, of temporary files and of the log."""
    wanted = [("root", root) for root in settings.roots]
    wanted += [("temp", str(settings.temp_directory)), ("logs", str(settings.log_directory))]
    return tuple(_answers([(purpose, path) for purpose, path in wanted]))


def _answers(wanted: list[tuple[str, str]]) -> Iterator[Disk]:
    """All are asked at once, so that several that do not answer cost no more than one."""
    found: dict[int, Disk] = {}
    threads = [
        threading.Thread(target=lambda n=number, w=each: found.setdefault(n, _look(*w)), name="disk", daemon=True)
        for number, each in enumerate(wanted)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for number, (purpose, path) in enumerate(wanted):
        yield found.get(number) or Disk(path, purpose, None, None, "no contesta (¿un disco de red sin servidor?)")


def _look(purpose: str, path: str) -> Disk:
    try:
        found, device = os.statvfs(path), Path(path).stat().st_dev
    except FileNotFoundError:
        return Disk(path, purpose, None, None, "no existe")
    except OSError as error:
        return Disk(path, purpose, None, None, reason_of(error))
    return Disk(path, purpose, found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, None, device)
