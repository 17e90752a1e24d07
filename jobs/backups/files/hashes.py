"""The hashes of a backup's file: what was written, what is written beside it, what was recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from jobs.backups.errors import DamagedBackup

READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """What reading a file back has shown."""

    size_bytes: int
    md5: str
    sha256: str


def hash_beside(path: Path) -> str:
    """The hash that is written beside a backup. Raises `DamagedBackup`."""
    beside = path.with_name(f"{path.name}.sha256")
    try:
        return beside.read_text().split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise DamagedBackup(f"no se puede leer {beside.name}, que debe estar junto a la copia") from error


def hashes_of(path: Path) -> Contents:
    """Read all of a file. Raises `OSError`."""
    md5, sha256, size_bytes = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            md5.update(block)
            sha256.update(block)
            size_bytes += len(block)
    return Contents(size_bytes, md5.hexdigest(), sha256.hexdigest())


def require_hash(file: Path, recorded_sha256: str | None = None, recorded_md5: str | None = None) -> None:
    """Raise `DamagedBackup` unless a file has the hash that is written beside it, and the recorded one, and `OSError`.

    The MD5 is asked for only where no SHA-256 was recorded.
    """
    expected = hash_beside(file)
    sha256 = hashlib.sha256()
    md5 = None if recorded_sha256 or not recorded_md5 else hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(READ_BYTES):
            sha256.update(block)
            if md5 is not None:
                md5.update(block)
    if sha256.hexdigest() != expected:
        raise DamagedBackup(f"{file.name} está dañado: su hash no es el de {file.name}.sha256")
    if sha256.hexdigest() != (recorded_sha256 or expected) or (md5 is not None and md5.hexdigest() != recorded_md5):
        raise DamagedBackup(f"{file.name} no es lo que se copió: su hash no es el que consta en la base de datos")
