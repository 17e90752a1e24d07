"""Whether the files of a backup on this host still hold what was written."""

from __future__ import annotations

import hashlib

from config.text.wording import reason_of
from jobs.backups.errors import DamagedBackup, FullBackupNeeded
from jobs.backups.files.description import read_description
from jobs.backups.files.hashes import hash_beside, require_hash
from jobs.backups.files.names import description_name
from jobs.backups.keeping.shelf import files_of
from jobs.backups.records import Backup


def require_undamaged(backup: Backup) -> None:
    """Raise `DamagedBackup` unless a file has the hash that is recorded and in its hash file. Reads the whole file."""
    try:
        require_hash(backup.path, backup.sha256, backup.md5)
    except OSError as error:
        raise DamagedBackup(f"no se puede leer {backup.name}: {reason_of(error)}") from error


def require_description(backup: Backup, text: bytes) -> None:
    """Raise `DamagedBackup` unless a text is the description that was recorded for a full backup."""
    if backup.description_sha256 not in (None, hashlib.sha256(text).hexdigest()):
        name = description_name(backup.name)
        raise DamagedBackup(f"{name} no es lo que se copió: su hash no es el que consta en la base de datos")


def described(backup: Backup) -> bytes:
    """A full backup's description, as it was recorded. Raises `DamagedBackup`."""
    beside = backup.path.with_name(description_name(backup.name))
    try:
        text = beside.read_bytes()
    except OSError as error:
        raise DamagedBackup(f"no se puede leer {beside.name}, que debe estar junto a la copia") from error
    require_description(backup, text)
    return text


def require_base(backup: Backup) -> None:
    """Raise `FullBackupNeeded` unless a full backup's companions are as recorded. The backup itself is not read."""
    try:
        described(backup)
        written = hash_beside(backup.path)
    except DamagedBackup as error:
        raise FullBackupNeeded(f"{backup.name} no vale como base: {error}") from error
    found = read_description(backup.path.with_name(description_name(backup.name))).sha256
    if backup.sha256 is not None and (written != backup.sha256 or found != backup.sha256):
        raise FullBackupNeeded(f"{backup.name} no es el completo que consta en la base de datos")


def damage_of(backup: Backup) -> str:
    """What is wrong with the files that restore a backup; empty if nothing is."""
    try:
        require_undamaged(backup)
    except DamagedBackup as error:
        return str(error)
    missing = [
        path.name for path in files_of(backup) if not path.exists() and (backup.is_full or path.suffix != ".json")
    ]
    if missing:
        return f"falta {missing[0]}"
    try:
        if backup.is_full:
            described(backup)
    except DamagedBackup as error:
        return str(error)
    return ""
