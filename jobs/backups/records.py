"""The rows of backups: `historial_backup` as the platform knows it, `notificaciones`, and the daemon's own table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from config.logs import one_line, redactor
from jobs.backups.files.hashes import Contents
from jobs.backups.files.names import ENCRYPTED
from jobs.backups.result import Kind
from jobs.context import LeaseLost
from sql.connection import Row
from sql.texts import Told

FOLDER = "jobs/backups"
COMPLETED = "COMPLETADO"
UNDER_WAY = "EN_PROCESO"
BYTES_PER_UNIT = 1024
LONGEST_NAME_OF_USER = 100

Query = Callable[[str, Mapping[str, object]], list[Row]]
"""Runs one of the job's own statements by its name."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A row of `historial_backup`; `host` and `attempt` are `None` for one that another program wrote."""

    id: int
    kind: str
    name: str
    path: Path
    state: str
    made: datetime
    size_bytes: int | None
    error: str | None
    seconds: float | None
    tables: int | None
    rows: int | None
    md5: str | None
    base_id: int | None
    is_deleted: bool
    deleted: datetime | None
    made_by: str | None
    host: str | None
    attempt: str | None
    is_being_deleted: bool
    verified: datetime | None
    verification_seconds: float | None
    verification_error: str | None
    sha256: str | None = None
    description_sha256: str | None = None
    """The hash of a full backup's description; `None` where it was not recorded."""
    was_found_at_provider: bool = False
    """Whether its row was written by `backup rebuild`: its file was never on the disk of this host."""
    copies: tuple[Mapping[str, object], ...] = ()
    """Those at providers, as `list --json` shows them."""
    damaged: datetime | None = None
    """Since when its file on its host is known to be damaged, though a provider has a copy."""
    is_dated_ahead: bool = False
    """Whether its date is in the future, because the database's clock was ahead: then the date tells no age."""
    is_cut_off: bool = False
    """Whether it is under way by its row, and no run has the job: the one that was making it has died."""
    last_proof: datetime | None = None
    """When a proof last succeeded. If a later one failed, `verified` is `None` all the same."""

    @property
    def is_full(self) -> bool:
        """Whether it can be restored without another backup."""
        return self.kind == Kind.FULL

    @property
    def age_key(self) -> tuple[bool, datetime, int]:
        """A sort key, greater for a newer backup. One with a date in the future may be of any age, and comes first."""
        return not self.is_dated_ahead, self.made, self.id

    @property
    def is_good(self) -> bool:
        """Whether it was made, and has not been deleted since."""
        return self.is_standing and not self.is_being_deleted

    @property
    def is_standing(self) -> bool:
        """Whether it was made, and its deletion, if any, is not finished: all of it may still be there."""
        return self.state == COMPLETED and not self.is_deleted

    @property
    def has_copy(self) -> bool:
        """Whether a provider has a copy, as far as is known."""
        return any(copy["falta_desde"] is None for copy in self.copies)

    @property
    def providers(self) -> frozenset[object]:
        """The ids of those that have a copy, or had one."""
        return frozenset(copy["nube_provider_id"] for copy in self.copies)

    def has_readable_copy(self, *, has_key: bool) -> bool:
        """Whether a provider has a copy, as far as is known, that is not encrypted unless there is a private key."""
        return any(
            copy["falta_desde"] is None and (has_key or not str(copy["clave"]).endswith(ENCRYPTED))
            for copy in self.copies
        )


@dataclass(frozen=True, slots=True)
class Beginning:
    """A backup that is about to be made; `attempt` is the unique name of this try."""

    attempt: str
    kind: Kind
    path: Path
    base_id: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """A backup that was made. Values that were not counted, because the run was killed, are `None`."""

    attempt: str
    kind: str
    path: Path
    contents: Contents
    tables: int | None
    rows: int | None
    seconds: float | None
    description_sha256: str | None = None
    """The hash of a full backup's description."""


@dataclass(frozen=True, slots=True)
class Found:
    """A backup that was found at a provider, and its path if it were on this host. Unknown values are `None`."""

    kind: Kind
    path: Path
    made: datetime
    size_bytes: int | None
    md5: str | None
    sha256: str | None
    tables: int | None
    rows: int | None
    description_sha256: str | None = None


class Written(NamedTuple):
    """The result of writing its row: no id if the database says it was deleted, or has another backup of this name."""

    backup_id: int | None
    is_new: bool
    is_another: bool


class Records:
    """Records backups in the database, and looks them up.

    All methods raise what `Connection.query` does. Each may be sent twice, as an answer may be lost.
    """

    def __init__(self, query: Query, host: str) -> None:
        self._query = query
        self._host = host

    def all(self) -> list[Backup]:
        """Every row, the oldest first."""
        return [_backup(row) for row in self._query("list_backups", {})]

    def now(self) -> datetime:
        """The time by the database's clock: that of a host may be years ahead."""
        now: datetime = self._query("read_clock", {})[0]["now"]
        return now

    def begin(self, beginning: Beginning, made_by: str) -> int:
        """Record that a backup is being made; return its id. Raises `LeaseLost`."""
        parameters = {**_parameters(beginning), "base_id": beginning.base_id, "host": Told(self._host)}
        rows = self._query("begin_backup", {**parameters, "made_by": Told(made_by[:LONGEST_NAME_OF_USER])})
        if not rows:
            raise LeaseLost("otra máquina ha tomado las copias de seguridad; sigue ella")
        return int(rows[0]["id_backup"])

    def restate(self, beginning: Beginning) -> None:
        """Record that what was begun becomes a full backup."""
        self._query("restate_backup", _parameters(beginning))

    def finish(self, end: End, message: str) -> None:
        """Record that a backup was made, and notify."""
        readable = readable_size(end.contents.size_bytes)
        parameters = {
            **_parameters(end), "size_bytes": end.contents.size_bytes, "readable_size": readable,
            "md5": end.contents.md5, "sha256": end.contents.sha256, "tables": end.tables, "rows": end.rows,
            "seconds": end.seconds, "description_sha256": end.description_sha256,
            "title": Told(f"✅ Backup {end.kind} completado"), "message": Told(message),
        }  # fmt: skip
        self._query("finish_backup", parameters)

    def fail(self, attempt: str, kind: str, reason: str) -> None:
        """Record that a backup could not be made, and why, and notify."""
        told = Told(redactor.redact(one_line(reason)))
        title = Told(f"❌ Error en Backup {kind}")
        self._query("fail_backup", {"attempt": attempt, "error": told, "title": title, "message": told})

    def note_deletion(self, backup: Backup) -> None:
        """Record that its files are about to be removed."""
        self._query("note_deletion", {"id": backup.id})

    def finish_deletion(self, backup: Backup) -> None:
        """Record that they are gone."""
        self._query("finish_deletion", {"id": backup.id})

    def note_kept(self, backup: Backup, *, is_here: bool) -> None:
        """Record that it is not deleted after all; `is_here`: its file is still on the disk."""
        self._query("note_kept", {"id": backup.id, "is_gone_here": not is_here})

    def note_missing(self, backup: Backup, message: str) -> bool:
        """Notify, once, that somebody else has removed its file. Return whether that is news."""
        title = Told(f"⚠️ Falta el archivo de un Backup {backup.kind}")
        return bool(self._query("note_missing", {"id": backup.id, "title": title, "message": Told(message)}))

    def note_damaged(self, backup: Backup, message: str) -> None:
        """Notify, once, that its file is damaged, and that a provider has a copy."""
        title = Told(f"⚠️ Dañado en el disco un Backup {backup.kind}")
        told = Told(redactor.redact(one_line(message)))
        self._query("note_damaged", {"id": backup.id, "title": title, "message": told})

    def note_repaired(self, backup: Backup) -> None:
        """Record that its file is whole again."""
        self._query("note_repaired", {"id": backup.id})

    def last_signs(self, hosts: Iterable[str]) -> dict[str, datetime]:
        """When some hosts last began a run, as far as that is known."""
        return {row["host"]: row["last_run"] for row in self._query("last_signs_of_hosts", {"hosts": list(hosts)})}

    def rebuild(self, found: Found, base_id: int | None, made_by: str) -> Written:
        """Record a backup that was found at a provider.

        A row that is known as good stays as it is, but for the full one that a differential lacked. What has the name
        of another backup, by its hash, is not recorded.
        """
        parameters = {
            "kind": str(found.kind), "name": found.path.name, "path": str(found.path), "size_bytes": found.size_bytes,
            "readable_size": None if found.size_bytes is None else readable_size(found.size_bytes),
            "tables": found.tables, "rows": found.rows, "md5": found.md5, "sha256": found.sha256,
            "description_sha256": found.description_sha256, "base_id": base_id,
            "made": found.made, "made_by": Told(made_by[:LONGEST_NAME_OF_USER]), "host": Told(self._host),
        }  # fmt: skip
        (row,) = self._query("rebuild_backup", parameters)
        return Written(row["id_backup"], row["is_new"], row["is_another"])

    def note_verified(self, backup: Backup, seconds: float, error: str | None = None) -> None:
        """Record that it was restored and compared, and what was wrong with it, if anything was: then notify."""
        told = None if error is None else Told(redactor.redact(one_line(error)))
        title = Told(f"❌ Error al comprobar Backup {backup.kind}")
        message = None if error is None else Told(redactor.redact(one_line(f"{backup.name}: {error}")))
        parameters = {"id": backup.id, "seconds": seconds, "error": told, "title": title, "message": message}
        self._query("note_verified", parameters)


def provider_of(copy: Mapping[str, object]) -> str:
    """The provider that has a copy, as operators know it."""
    name = copy["proveedor"]
    return f"{one_line(name) if name else 'un proveedor borrado'} (id {copy['nube_provider_id']})"


def readable_size(size_bytes: int) -> str:
    """A number of bytes for people: `1.50 MB`."""
    amount, unit = float(size_bytes), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < BYTES_PER_UNIT:
            break
        amount, unit = amount / BYTES_PER_UNIT, larger
    return f"{size_bytes} B" if unit == "B" else f"{amount:.2f} {unit}"


def _parameters(what: Beginning | End) -> dict[str, object]:
    return {"attempt": what.attempt, "kind": str(what.kind), "name": what.path.name, "path": str(what.path)}


def _backup(row: Row) -> Backup:
    return Backup(
        id=row["id_backup"],
        kind=row["tipo"],
        name=row["nombre_archivo"],
        path=Path(row["ruta_archivo"]),
        state=row["estado"],
        made=row["fecha_creacion"],
        is_dated_ahead=row["is_dated_ahead"],
        is_cut_off=row["is_cut_off"],
        size_bytes=row["tamanio_bytes"],
        error=row["mensaje_error"],
        seconds=row["duracion_segundos"],
        tables=row["tablas_respaldadas"],
        rows=row["registros_totales"],
        md5=row["hash_md5"],
        base_id=row["id_backup_base"],
        is_deleted=row["eliminado"],
        deleted=row["fecha_eliminacion"],
        made_by=row["ejecutado_por"],
        host=row["host"],
        attempt=row["attempt"],
        sha256=row["sha256"],
        description_sha256=row["description_sha256"],
        was_found_at_provider=row["found_at_provider"],
        copies=tuple(json.loads(row["copies"] or "[]")),
        is_being_deleted=row["deleting_since"] is not None,
        verified=row["verified_at"] if row["verification_error"] is None else None,
        last_proof=row["verified_at"],
        verification_seconds=row["verification_seconds"],
        verification_error=row["verification_error"],
        damaged=row["damaged_since"],
    )
