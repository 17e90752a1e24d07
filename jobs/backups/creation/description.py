"""The small file beside a full backup, with what a differential must know to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from jobs.backups.errors import FullBackupNeeded

FORMAT = 1
CHANGES_BETWEEN_EQUAL_DUMPS = (b"\\restrict ", b"\\unrestrict ", b"-- Dumped ", b"-- Started on", b"-- Completed on")


@dataclass(frozen=True, slots=True)
class Description:
    """A full backup: `data_start` and `data_end` are where the gzip member with the rows begins and ends."""

    format: int
    id: str
    file: str
    size_bytes: int
    sha256: str
    md5: str
    data_start: int
    data_end: int
    data_bytes: int
    fingerprint: str
    database: str
    database_oid: int
    encoding: str
    server_major: int
    dump_major: int
    tables: int
    rows: int
    large_objects: Mapping[str, str]
    """A hash for each oid."""
    roles: Sequence[str]
    """All of the server's: a scratch server needs those that own something, or may do something."""

    def to_bytes(self) -> bytes:
        """As the file holds it."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


def read_description(path: Path) -> Description:
    """What a file says. Raises `FullBackupNeeded` when it is missing or no such file."""
    try:
        found = json.loads(path.read_bytes())
        description = Description(**{field.name: found[field.name] for field in fields(Description)})
    except OSError as error:
        raise FullBackupNeeded(f"no se puede leer {path.name}, la descripción del completo") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FullBackupNeeded(f"{path.name}, la descripción del completo, está dañado") from error
    if description.format != FORMAT:
        raise FullBackupNeeded(f"{path.name} es de otra versión del programa")
    return description


def fingerprint(pre_data: bytes, post_data: bytes) -> str:
    """A hash of what describes the tables, the same for equal ones."""
    found = hashlib.sha256()
    for section in (pre_data, post_data):
        for line in section.split(b"\n"):
            if not line.startswith(CHANGES_BETWEEN_EQUAL_DUMPS):
                found.update(line + b"\n")
    return found.hexdigest()
