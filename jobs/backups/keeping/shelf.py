"""The backups of this host, from their rows and their directory together."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.errors import BackupError, DiskError
from jobs.backups.files.names import description_name
from jobs.backups.keeping.retention import KnownBackup
from jobs.backups.records import Backup

DIRECTORY = "BACKUP_PATH"
"""The place on this host in which a copy may be; the others are at providers."""


class UnknownBackup(BackupError):
    """No such backup can be used here."""


def why_missing(directory: Path) -> str:
    """Told to operators if the directory of earlier backups is gone: a new one would hide an unmounted disk."""
    return (
        f"no existe {one_line(directory)} (BACKUP_PATH), donde hay copias anotadas: monte su disco o corrija "
        "BACKUP_PATH; si ya no volverá, créelo con mkdir -m 700"
    )


ANOTHER = "elija otra con 'backup list'"
AS_OWNER = "este usuario no puede mirar allí; ejecute la orden como quien hace las copias, o devuélvale el permiso"


@dataclass(frozen=True, slots=True)
class Shelf:
    """All rows, and the host whose files can be seen.

    `elsewhere`: by id the other places where a copy was seen. `asked`: the ids of the providers that said what they
    have; of any other one it is unknown.
    """

    backups: tuple[Backup, ...]
    host: str
    elsewhere: Mapping[int, frozenset[str]] = field(default_factory=dict)
    asked: frozenset[int] = frozenset()

    def here(self) -> list[Backup]:
        """The backups that this program made on this host, oldest first."""
        return [backup for backup in self.backups if backup.host == self.host]

    def good_here(self) -> list[Backup]:
        """The backups of this host that were made and not deleted."""
        return [backup for backup in self.here() if backup.is_good]

    def missing(self) -> list[Backup]:
        """The backups of this host whose files somebody else has removed or changed."""
        made = (backup for backup in self.good_here() if not backup.was_found_at_provider)
        return [backup for backup in made if not is_there(backup) and not is_hidden(backup)]

    def hidden(self) -> list[Backup]:
        """The backups of this host of which nobody can tell whether their files are there."""
        return [backup for backup in self.good_here() if is_hidden(backup)]

    def newest_full(self, fetchable: Container[int] = ()) -> Backup | None:
        """The newest good full one that can be the base of a differential, now or once it was fetched.

        None of its chain has failed a proof, and its file is not known to be damaged.
        """
        doubtful = {backup.base_id or backup.id for backup in self.here() if backup.verification_error is not None}
        usable = (
            backup
            for backup in self.good_here()
            if backup.is_full and backup.id not in doubtful and (is_base(backup) or backup.id in fetchable)
            if backup.damaged is None
        )
        return max(usable, key=_age, default=None)

    def newest(self, fetchable: Container[int] = ()) -> Backup:
        """The newest good one whose file is there, or can be fetched. Raises `UnknownBackup`."""
        usable = [backup for backup in self.good_here() if is_there(backup) or backup.id in fetchable]
        if not usable:
            raise UnknownBackup("no hay ninguna copia de seguridad buena en este equipo; hágala con 'backup run'")
        return max(usable, key=_age)

    def newest_provable(self, *, has_key: bool) -> Backup | None:
        """The newest good one that this program made and somebody can prove.

        All that restores it is on its host, or at a provider where this host can read it. What another host should
        have is believed to be there.
        """
        usable = (backup for backup in self.backups if backup.is_good and backup.host is not None)
        provable = (
            backup for backup in usable if all(self._can_be_read(part, has_key) for part in self._parts(backup))
        )
        return max(provable, key=_age, default=None)

    def is_readable_elsewhere(self, backup: Backup, *, has_key: bool) -> bool:
        """Whether providers have every file that a restore needs, in a form that this host can read."""
        return all(part is not None and part.has_readable_copy(has_key=has_key) for part in self._parts(backup))

    def _can_be_read(self, backup: Backup | None, has_key: bool) -> bool:
        if backup is None:
            return False
        is_on_its_host = is_there(backup) if backup.host == self.host else backup.host is not None
        return is_on_its_host or backup.has_readable_copy(has_key=has_key)

    def _parts(self, backup: Backup) -> list[Backup | None]:
        """The backups that a restore of this one needs; `None` if it is unknown, or not good any more."""
        if backup.is_full:
            return [backup]
        base = next((other for other in self.backups if other.id == backup.base_id and other.is_good), None)
        return [base, backup]

    def named(self, backup_id: int) -> Backup:
        """The backup with this id. Raises `UnknownBackup`."""
        for backup in self.backups:
            if backup.id == backup_id:
                return backup
        raise UnknownBackup(f"no hay ninguna copia de seguridad con id {backup_id}; vea 'backup list'")

    def base_name(self, backup: Backup) -> str | None:
        """The name of the full backup that a differential needs; `None` for a full one."""
        return next((other.name for other in self.backups if other.id == backup.base_id), None)

    def chain(self, backup: Backup, fetchable: Container[int] = ()) -> list[Backup]:
        """What restores a backup, in order: itself, or its full one and itself; `fetchable` need not be here.

        Raises `UnknownBackup` where one of them cannot be used here.
        """
        if backup.is_full:
            return [self._usable(backup, fetchable)]
        if backup.base_id is None:
            raise UnknownBackup(f"la copia {backup.id} no dice cuál es su completa")
        return [self._usable(self.named(backup.base_id), fetchable), self._usable(backup, fetchable)]

    def has_made_in(self, directory: Path) -> bool:
        """Whether good backups of this host should be in this directory."""
        made = (backup for backup in self.good_here() if not backup.was_found_at_provider)
        return any(backup.path.parent == directory for backup in made)

    def is_here(self, backup: Backup) -> bool:
        """Whether its file is on this host."""
        return backup.host in (None, self.host) and is_there(backup)

    def _usable(self, backup: Backup, fetchable: Container[int]) -> Backup:
        if not backup.is_standing:  # what a run was deleting may be all there is
            state = "está borrada" if backup.is_deleted else f"está en {backup.state} ('backup show {backup.id}')"
            raise UnknownBackup(f"la copia {backup.id} ({backup.name}) {state}: {ANOTHER}")
        if backup.id in fetchable:
            return backup
        if backup.host not in (None, self.host):
            raise UnknownBackup(f"la copia {backup.id} está en el equipo {backup.host}: ejecute allí la orden")
        if (reason := why_hidden(backup)) is not None:
            raise UnknownBackup(f"no se sabe si la copia {backup.id} está en {backup.path}: {reason}")
        if not is_there(backup):
            missing = f"el archivo de la copia {backup.id} no está en {backup.path}, o no tiene su tamaño"
            raise UnknownBackup(f"{missing}: devuélvalo, o {ANOTHER}")
        return backup

    def known(self) -> list[KnownBackup]:
        """All as retention judges them: also what a run was deleting, as it may be all there is by now."""
        return [self._known(backup) for backup in self.backups if backup.is_standing]

    def _known(self, backup: Backup) -> KnownBackup:
        is_own = backup.host == self.host
        here = frozenset((DIRECTORY,) if is_own and is_whole(backup) else ())
        return KnownBackup(
            id=backup.id,
            made=backup.made,
            base_id=None if backup.is_full else backup.base_id or -1,
            is_good=backup.is_standing,
            verified=backup.last_proof,
            copies=here | self.elsewhere.get(backup.id, frozenset()),
            is_doubtful=backup.verification_error is not None,
            may_be_unseen=not backup.providers <= self.asked,
            is_own=is_own,
        )


def _age(backup: Backup) -> tuple[bool, datetime, int]:
    return backup.age_key


def is_there(backup: Backup) -> bool:
    """Whether its file is seen, with the size that was recorded."""
    try:
        return backup.path.stat().st_size == backup.size_bytes
    except OSError:
        return False


def is_hidden(backup: Backup) -> bool:
    """Whether nobody can tell if its file is there: this user may not look, or the disk does not answer."""
    return why_hidden(backup) is not None


def why_hidden(backup: Backup) -> str | None:
    """Why nobody can tell, and what to do, in Spanish; `None` if one can. The file may well be there."""
    try:
        backup.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        return AS_OWNER
    except OSError as error:
        return f"{reason_of(error)}; compruebe ese disco"
    return None


def is_gone(directory: Path) -> bool:
    """Whether nothing has its name. What this user may not look at may be there."""
    try:
        return not directory.exists()
    except OSError:
        return False


def is_whole(backup: Backup) -> bool:
    """Whether its file is seen, and is not known to be damaged."""
    return backup.damaged is None and is_there(backup)


def is_base(backup: Backup) -> bool:
    """Whether a full backup and its description are on the disk."""
    return is_there(backup) and (backup.path.parent / description_name(backup.name)).exists()


def files_of(backup: Backup) -> Iterable[Path]:
    """A backup's file and its companions. The file comes first, because the others are useless without it."""
    yield backup.path
    yield backup.path.with_name(f"{backup.name}.sha256")
    yield backup.path.with_name(description_name(backup.name))


def require_directory(directory: Path, shelf: Shelf) -> None:
    """Raise `DiskError` where backups were made in a directory that is gone. The first backup of all creates it."""
    if is_gone(directory) and shelf.has_made_in(directory):
        raise DiskError(why_missing(directory))
