"""Decides what to do with each file in a log directory, from its own state. Touches nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.logs.names import has_compressed_name, is_log, original_name
from jobs.logs.settings import LogsSettings

NS_PER_DAY = 24 * 3600 * 10**9

MAGIC_NUMBERS = (
    *(b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00"),  # gzip, zstd, xz
    *(b"\x1f\x9d", b"\x04\x22\x4d\x18", b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c"),  # compress, lz4, zip, 7z
    *(b"BZh%d1AY&SY" % level for level in range(1, 10)),  # bzip2, whose first three letters may begin a text
)
MAGIC_BYTES = max(map(len, MAGIC_NUMBERS))


BYTES_PER_BLOCK = 512
"""The unit of `st_blocks`, whatever the file system uses."""


def occupied_bytes(status: os.stat_result) -> int:
    """How much of the disk a file takes, its last block only as far as it is used.

    Some file systems do not tell, and say 0.
    """
    return min(status.st_blocks * BYTES_PER_BLOCK or status.st_size, status.st_size)


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as a look at a log directory showed it. `is_compressed`: by its name or by its contents."""

    name: str
    mode: int
    size_bytes: int
    occupied_bytes: int
    """How much of the disk it takes: less than its size if it has holes."""
    mtime_ns: int
    links: int
    is_compressed: bool


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Logs last written before these moments are due. Without compression, none is due for it."""

    compress_before_ns: float | None
    delete_before_ns: float

    @classmethod
    def at(cls, now_ns: int, settings: LogsSettings) -> Deadlines:
        """The deadlines of a run that starts now."""
        compress_before_ns = now_ns - settings.compression_days * NS_PER_DAY
        return cls(
            compress_before_ns if settings.compression_enabled else None,
            now_ns - settings.retention_days * NS_PER_DAY,
        )

    def may_be_due(self, mtime_ns: int) -> bool:
        """Whether a log of this age is due, either uncompressed or compressed."""
        return mtime_ns < self.delete_before_ns or self.is_due_for_compression(mtime_ns)

    def is_due_for_compression(self, mtime_ns: int) -> bool:
        """Whether an uncompressed log of this age is due."""
        return self.compress_before_ns is not None and mtime_ns < self.compress_before_ns


@dataclass(frozen=True, slots=True)
class Plan:
    """The logs that are due. Both lists begin with what frees most, as far as is known without reading."""

    compress: tuple[SeenFile, ...]
    delete: tuple[SeenFile, ...]


def plan_directory(seen: Iterable[SeenFile], deadlines: Deadlines, settings: LogsSettings) -> Plan:
    """Plan which of these files are due.

    A log that this plan compresses is deleted by a later one, so a person has a day to notice. For the same reason a
    compressed log is not deleted while its uncompressed log, old as it is, still exists: where a killed run has left
    both, they hold the same bytes.
    """
    logs = [file for file in seen if stat.S_ISREG(file.mode) and is_log(file.name, settings.patterns)]
    compress = [log for log in logs if _is_to_be_compressed(log, deadlines)]
    uncompressed = {original_name(log.name) for log in compress}
    delete = [log for log in logs if _is_to_be_deleted(log, deadlines) and original_name(log.name) not in uncompressed]
    return Plan(_largest_first(compress), _largest_first(delete))


def _is_to_be_compressed(log: SeenFile, deadlines: Deadlines) -> bool:
    """Never a hard link: its bytes would stay under the other name, and no space would be freed."""
    return not log.is_compressed and log.links == 1 and deadlines.is_due_for_compression(log.mtime_ns)


def _is_to_be_deleted(log: SeenFile, deadlines: Deadlines) -> bool:
    return log.is_compressed and log.mtime_ns < deadlines.delete_before_ns


def _largest_first(logs: list[SeenFile]) -> tuple[SeenFile, ...]:
    return tuple(sorted(logs, key=lambda log: (-log.occupied_bytes, log.name)))


def is_compressed(name: str, first_bytes: bytes) -> bool:
    """Whether a file is compressed, by its name or by its first bytes."""
    return has_compressed_name(name) or first_bytes.startswith(MAGIC_NUMBERS)
