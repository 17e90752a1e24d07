"""The result of making a backup."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from jobs.backups.files.hashes import Contents


class Kind(enum.StrEnum):
    """The values of `historial_backup.tipo`."""

    FULL = "COMPLETO"
    DIFFERENTIAL = "DIFERENCIAL"


@dataclass(frozen=True, slots=True)
class Remark:
    """What an operator should know of the database, though its backup is good. The text is Spanish, one line."""

    text: str
    needs_person: bool = False


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A backup that has its final name: whole, read back, on the disk.

    `rows` are those of all tables in the snapshot. `base` is the file name of a differential's full backup. `reason`
    says in Spanish why a full one was made where a differential was wanted. `description_sha256` is the hash of what a
    full one has beside it.
    """

    kind: Kind
    path: Path
    id: str
    contents: Contents
    tables: int
    rows: int
    base: str = ""
    reason: str = ""
    description_sha256: str | None = None
    remarks: tuple[Remark, ...] = ()
