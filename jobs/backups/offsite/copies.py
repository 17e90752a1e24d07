"""The rows of copies at providers, and where the files of a copy are there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jobs.backups.files.names import ENCRYPTED, SUFFIX, description_name
from jobs.backups.records import Backup, Query
from jobs.context import LeaseLost
from sql.texts import Told

HASH = ".sha256"


@dataclass(frozen=True, slots=True)
class Spot:
    """The names of one copy: `key` is that of the backup's own file, encrypted or not."""

    key: str

    @property
    def is_encrypted(self) -> bool:
        """Whether only the owner of a private key can read it."""
        return self.key.endswith(ENCRYPTED)

    @property
    def name(self) -> str:
        """The backup's name on the disk."""
        return self.key.rpartition("/")[2].removesuffix(ENCRYPTED)

    @property
    def directory(self) -> str:
        """The part of its keys above the names."""
        return self.key.rpartition("/")[0]

    @property
    def hash_key(self) -> str:
        """The hash, stored last: a copy without it is not complete."""
        return f"{self.key}{HASH}"

    @property
    def description_key(self) -> str:
        """The description of a full backup."""
        plain = description_name(self.key.removesuffix(ENCRYPTED))
        return f"{plain}{ENCRYPTED}" if self.is_encrypted else plain

    @property
    def keys(self) -> tuple[str, str, str]:
        """All files of a copy, the hash first: removed in this order, no incomplete copy ever looks whole."""
        return (self.hash_key, self.key, self.description_key)


def backups_prefix(prefix: str) -> str:
    """Where the backups of an installation are at every provider."""
    return f"{prefix}/backups" if prefix else "backups"


def spot_of(prefix: str, name: str, *, is_encrypted: bool) -> Spot:
    """Where a backup goes below the prefix of the installation."""
    if not name.endswith(SUFFIX):
        raise ValueError(name)
    return Spot(f"{backups_prefix(prefix)}/{name}{ENCRYPTED if is_encrypted else ''}")


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy at a provider: proven if `stored` is known, else begun and perhaps half there.

    Of one that was begun `sha256` is the hash of what was to be stored, and `evidence` that of what it was to replace.
    """

    backup_id: int
    provider_id: int
    store: str
    spot: Spot
    size_bytes: int | None = None
    sha256: str | None = None
    evidence: str | None = None
    stored: datetime | None = None
    missing: datetime | None = None


class Copies:
    """Records copies in the database, and looks them up. Each method may be sent twice, as an answer may be lost."""

    def __init__(self, query: Query) -> None:
        self._query = query

    def all(self) -> list[Copy]:
        """Every copy that was not deleted by this program."""
        return [
            Copy(
                row["id_backup"], row["provider_id"], row["store"], Spot(row["key"]), row["size_bytes"], row["sha256"],
                row["evidence"], row["stored_at"], row["missing_since"],
            )
            for row in self._query("list_copies", {})
        ]  # fmt: skip

    def begin(self, copy: Copy, sha256: str, replaced_sha256: str | None) -> None:
        """Record, before the first byte, that a copy is being stored, and what for. Raises `LeaseLost`."""
        hashes = {"sha256": sha256, "replaced_sha256": replaced_sha256}
        if not self._query("begin_copy", {**_place(copy), **hashes}):
            raise LeaseLost("otra máquina ha tomado las copias de seguridad; sigue ella")

    def finish(self, copy: Copy, size_bytes: int, sha256: str, evidence: str) -> None:
        """Record a complete copy, and how that was proven."""
        proof = {"size_bytes": size_bytes, "sha256": sha256, "evidence": evidence}
        self._query("finish_copy", {**_place(copy), **proof})

    def note_missing(self, copy: Copy, backup: Backup, message: str) -> None:
        """Notify, once, that another hand has taken it away."""
        title = Told(f"⚠️ Falta en un proveedor un Backup {backup.kind}")
        self._query("note_copy_missing", {**_place(copy), "title": title, "message": Told(message)})

    def note_deleted(self, copy: Copy) -> None:
        """Record that it was removed."""
        self._query("note_copy_deleted", _place(copy))


def _place(copy: Copy) -> dict[str, object]:
    return {"id": copy.backup_id, "provider_id": copy.provider_id, "store": copy.store, "key": copy.spot.key}
