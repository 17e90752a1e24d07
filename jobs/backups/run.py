"""One run of the job: tidies up after killed runs, makes the backup that is due, throws away what is too old."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from config.errors import RunInterrupted, unexpected
from config.exit_codes import EXIT_DATABASE
from config.logs import one_line
from config.process.write_advice import user_name
from config.text.plurals import counted
from jobs.backups.check import programs, unreadable
from jobs.backups.choice import Choice, Costs, Wish, choose
from jobs.backups.creation.make import make_differential, make_full
from jobs.backups.errors import BackupError, BackupInterrupted, DamagedBackup, FullBackupNeeded
from jobs.backups.files.directory import Target
from jobs.backups.files.drafts import remove_unfinished, unreadable_drafts
from jobs.backups.files.names import DIFFERENTIAL, FULL, SUFFIX, free_stem
from jobs.backups.keeping.damage import require_base
from jobs.backups.keeping.disposal import delete, keep, kept_after_all, to_delete
from jobs.backups.keeping.place import open_to_others, why_not_writable
from jobs.backups.keeping.recovery import close_cut_off
from jobs.backups.keeping.shelf import Shelf, is_base, require_directory
from jobs.backups.offsite.delivery import Delivery
from jobs.backups.offsite.encryption import require_recipients
from jobs.backups.offsite.fetching import is_usable
from jobs.backups.reading.source import Source
from jobs.backups.records import Backup, Beginning, End, Records, readable_size
from jobs.backups.result import BackupFile, Kind
from jobs.backups.settings import BackupSettings
from jobs.context import Context
from jobs.job import Outcome
from jobs.report import TickReport
from jobs.schedule import Daily
from sql.errors import DatabaseError, DatabaseUnavailable

DAMAGED_INDEX = "backup:damaged_index"
"""The cause that is noted when a count by an index gives another number than the table has."""

SCHEDULER = "SCHEDULER"
ENDINGS = {Kind.FULL: FULL, Kind.DIFFERENTIAL: DIFFERENTIAL}


class BackupNotMade(Exception):
    """No backup was made, and the reason is recorded. The message is in Spanish."""


def run(context: Context) -> Outcome:
    """Make the backup that is due, or the one that somebody asks for.

    What keeps it from being made is recorded, notified and told as the run's failure. Raises `RunInterrupted`,
    `LeaseLost`, and `DatabaseError` where the daemon's own database does not answer.
    """
    require_recipients(context.own_settings.recipients)
    with contextlib.closing(Delivery.of(context)) as delivery:
        own = _Run.of(context, delivery)
        counts = {"recovered": close_cut_off(own.shelf(), own.records)}
        if not own.only_lacks_copies():
            try:
                counts |= _counts_of(own.make(own.choice()))
            except BackupNotMade as error:
                context.say("backup_failed", f"No se pudo hacer la copia de seguridad: {error}", logging.ERROR)
                if isinstance(error.__cause__, DatabaseUnavailable) and context.report is not None:
                    own.note_lost_database(context.report)
                counts["copies"] = own.send()
                return Outcome({**counts, "failed": 1}, (f"no se pudo hacer la copia: {error}", *delivery.failures))
        counts["copies"] = own.send()
        try:
            counts |= own.tidy_up()
        except BackupError as error:
            context.say(
                "backup_retention_failed", f"No se pudieron borrar todas las copias antiguas: {error}", logging.ERROR
            )
            told = f"la copia está hecha, pero no se borraron todas las antiguas: {error}"
            return Outcome(counts, (told, *delivery.failures))
        return Outcome(counts, tuple(delivery.failures))


def _counts_of(made: BackupFile) -> dict[str, int]:
    return {
        "full": int(made.kind is Kind.FULL),
        "differential": int(made.kind is Kind.DIFFERENTIAL),
        "size_bytes": made.contents.size_bytes,
        "tables": made.tables,
        "rows": made.rows,
    }


def preview(context: Context) -> Outcome:
    """Say which backup a run would make, and which it would delete; where it could not make one, that fails."""
    require_recipients(context.own_settings.recipients)
    with contextlib.closing(Delivery.of(context)) as delivery:
        own = _Run.of(context, delivery)
        kind = own.likely_choice().kind
        context.say("backup_previewed", f"[simulación] se haría una copia de seguridad {kind} en {own.directory}")
        for provider in delivery.wanted_names():
            context.say("backup_copy_previewed", f"[simulación] se guardaría en {provider} lo que allí falte")
        delivery.look(own.shelf())
        for backup in to_delete(own.shelf(), own.settings.retention_days, context.now):
            context.say("backup_deletion_previewed", f"[simulación] se borraría la copia {backup.id}, {backup.name}")
    faults = tuple(_faults_to_come(context, own.directory))
    for text in faults:
        context.say("backup_would_fail", f"[simulación] {text}", logging.ERROR)
    return Outcome(failures=faults)


def _faults_to_come(context: Context, directory: Path) -> Iterator[str]:
    """Why a run could not make a backup, as far as can be told without making one."""
    found = programs(context)
    if not found.in_order:
        yield found.text
    for finding in unreadable(context):
        yield finding.text
    if (fault := why_not_writable(directory)) is not None:
        yield f"no se podría escribir en {one_line(directory)} (BACKUP_PATH): {fault}"


@dataclass(frozen=True, slots=True)
class _Run:
    """What the steps of one run share."""

    context: Context
    settings: BackupSettings
    records: Records
    directory: Path
    delivery: Delivery

    @classmethod
    def of(cls, context: Context, delivery: Delivery) -> _Run:
        directory = context.settings.backup_directory.absolute()
        return cls(context, context.own_settings, Records(context.query, context.settings.host), directory, delivery)

    def shelf(self) -> Shelf:
        return Shelf(
            tuple(self.records.all()), self.context.settings.host, self.delivery.places(), self.delivery.asked()
        )

    @property
    def wish(self) -> Wish:
        return self.context.wish if isinstance(self.context.wish, Wish) else Wish()

    @property
    def made_by(self) -> str:
        """The name of the user who asks for it, or that of the scheduler."""
        return current_user() if self.context.is_asked_for else SCHEDULER

    @property
    def when(self) -> datetime:
        """Now, by the clock of the schedule."""
        return self.context.now.astimezone(self.context.settings.time_zone)

    def only_lacks_copies(self) -> bool:
        """Whether the backup that is due was made by an earlier run, which could not store it everywhere."""
        if self.context.is_asked_for:
            return False
        last_instant = Daily(at=self.settings.at).last_instant(self.context.now, self.context.settings.time_zone)
        good = self.shelf().good_here()
        recent = [backup for backup in good if backup.made >= last_instant and not backup.is_dated_ahead]
        return any(self.delivery.is_lacking(backup) for backup in recent)

    def likely_choice(self) -> Choice:
        """What is to be made if its full backup, wherever that is, can be used."""
        newest_full = self.shelf().newest_full(self.delivery.fetcher.fetchable)
        return choose(newest_full, self.wish, self.settings, self.context.now, self.context.settings.time_zone)

    def choice(self) -> Choice:
        """What is to be made; a full backup that only a provider has is fetched if that is cheaper than a new one."""
        choice = self.likely_choice()
        if choice.base is None or is_base(choice.base):
            return choice
        sizes = [backup.size_bytes or 0 for backup in self.shelf().good_here() if not backup.is_full]
        fetched_bytes = self.delivery.fetcher.size_bytes(choice.base)
        expected = Costs(fetched_bytes, choice.base.size_bytes or fetched_bytes, sizes[-1] if sizes else 0)
        if not expected.favour_fetching(places=1 + len(self.settings.providers)):
            return Choice(None, f"{choice.base.name} solo está en un proveedor, y hacer otra cuesta menos que traerla")
        try:
            require_directory(self.directory, self.shelf())
            self._remove_unfinished()
            self.delivery.fetcher.fetch(choice.base, self.directory)
        except BackupError as error:
            return Choice(None, f"{choice.base.name} solo está en un proveedor: {error}")
        self.context.say("backup_fetched", f"Copia de seguridad {choice.base.name} traída: la diferencial la necesita")
        return choice

    def _remove_unfinished(self) -> None:
        remove_unfinished(self.directory, {backup.name for backup in self.records.all() if backup.is_good})

    # Making it

    def make(self, choice: Choice) -> BackupFile:
        """Raises `BackupNotMade`, `RunInterrupted`, `LeaseLost`, `DatabaseError`."""
        self.context.require_going_on()
        base_id = None if choice.base is None else choice.base.id
        beginning = Beginning(secrets.token_hex(16), choice.kind, self._path(choice.kind), base_id)
        self.records.begin(beginning, self.made_by)
        self.context.say("backup_started", f"Empieza la copia de seguridad {choice.kind} en {self.directory}")
        started = time.monotonic()
        try:
            require_directory(self.directory, self.shelf())
            made = self._made(choice, beginning)
        except Exception as error:
            is_known = isinstance(error, (BackupError, DatabaseError))
            reason = one_line(error if is_known else unexpected(error))
            if isinstance(error, DatabaseUnavailable) and self.is_of_another_database:
                reason = f"BACKUP_DATABASE_URL: {reason}"
            self.records.fail(beginning.attempt, choice.kind, reason)
            if isinstance(error, BackupInterrupted):
                raise RunInterrupted(reason) from error
            if not is_known:
                raise
            raise BackupNotMade(reason) from error
        self._note(made, beginning.attempt, time.monotonic() - started)
        return made

    def _made(self, choice: Choice, beginning: Beginning) -> BackupFile:
        self._remove_unfinished()
        if choice.base is None:
            return self._full(choice.reason)
        interruption = self.context.interruption
        try:
            target = self._target(Kind.DIFFERENTIAL)
            require_base(choice.base)
            return make_differential(self._source, target, choice.base.path, self.when, interruption)
        except FullBackupNeeded as needed:
            if isinstance(needed.__cause__, DamagedBackup):
                is_usable(choice.base, self.shelf(), self.delivery.fetcher, self.records)  # tells and records it
            full = replace(beginning, kind=Kind.FULL, path=self._path(Kind.FULL), base_id=None)
            self.records.restate(full)
            return self._full(str(needed))

    def _full(self, reason: str) -> BackupFile:
        if reason:
            self.context.say("full_backup_needed", f"La copia de seguridad será completa: {reason}")
        return make_full(self._source, self._target(Kind.FULL), self.when, self.context.interruption, reason=reason)

    @property
    def _source(self) -> Source:
        return Source(self.settings.database_url or self.context.settings.database_url, self.settings.programs)

    def _target(self, kind: Kind) -> Target:
        """Where the backup goes, which must have room for one as large as the last of its kind."""
        sizes = [backup.size_bytes or 0 for backup in self.shelf().good_here() if backup.kind == kind]
        return Target(self.directory, sizes[-1] if sizes else 0)

    def _path(self, kind: Kind) -> Path:
        return self.directory / (free_stem(self.directory, self.when, ENDINGS[kind]) + SUFFIX)

    def _note(self, made: BackupFile, attempt: str, seconds: float) -> None:
        message = (
            f"{made.path.name}: {readable_size(made.contents.size_bytes)}, {counted(made.tables, 'tabla', 'tablas')}, "
            f"{counted(made.rows, 'registro', 'registros')}, en {seconds:.1f} s"
        )
        self.records.finish(
            End(attempt, made.kind, made.path, made.contents, made.tables, made.rows, seconds, made.description_sha256),
            f"{message}; completo porque {made.reason}" if made.reason else message,
        )
        self.context.say("backup_made", f"Copia de seguridad {made.kind} completada: {message}")
        self._note_remarks(made)

    def _note_remarks(self, made: BackupFile) -> None:
        for remark in made.remarks:
            self.context.say("backup_remark", one_line(f"{made.path.name}: {remark.text}"), logging.WARNING)
        to_mend = [remark.text for remark in made.remarks if remark.needs_person]
        state, text = ("needs_person", " · ".join(to_mend)) if to_mend else ("ok", "Ningún índice carece de entradas")
        self.context.notify(DAMAGED_INDEX, state, one_line(text))

    def note_lost_database(self, report: TickReport) -> None:
        """The run ends as if it had no database, unless another database is being backed up."""
        if not self.is_of_another_database:
            report.note_problem(EXIT_DATABASE)

    @property
    def is_of_another_database(self) -> bool:
        """Whether a database other than the program's own is backed up."""
        return self.settings.database_url not in ("", self.context.settings.database_url)

    # Copies at providers

    def send(self) -> int:
        """Send what providers lack; return how many copies were stored. Raises `RunInterrupted`, `LeaseLost`."""
        try:
            self._remove_unfinished()  # a killed run may have left what it was encrypting
        except BackupError as error:
            self.delivery.failures.append(f"no se enviaron copias de seguridad: {error}")
            return 0
        shelf = self.shelf()
        self.delivery.look(shelf)
        self.delivery.tell_missing(shelf)
        gone = to_delete(self.shelf(), self.settings.retention_days, self.context.now)
        stored = self.delivery.send_all(shelf, gone, self.context.require_going_on)
        for key, state, text in self.delivery.causes():
            self.context.notify(key, state, text)
        return stored

    # What is too old, and what is gone

    def tidy_up(self) -> dict[str, int]:
        """Delete what is too old, and tell what is missing. Raises `DiskError`, `RunInterrupted`, `LeaseLost`."""
        shelf = self.shelf()
        missing = shelf.missing()
        for backup in missing:
            self._tell_missing(backup)
        if (warning := open_to_others(self.directory)) is not None:
            self.context.say("backup_directory_open", f"{warning[0].upper()}{warning[1:]}", logging.WARNING)
        self._tell_unreadable()
        gone = to_delete(shelf, self.settings.retention_days, self.context.now)
        keep(kept_after_all(shelf, gone), self.records)
        deleted = delete(gone, self.records, self.context.require_going_on, self.delivery.remove)
        if deleted:
            names = ", ".join(backup.name for backup in deleted)
            self.context.say("backups_deleted", f"Copias de seguridad antiguas borradas: {names}")
        freed_bytes = sum(backup.size_bytes or 0 for backup in deleted)
        return {"deleted": len(deleted), "freed_bytes": freed_bytes, "missing": len(missing)}

    def _tell_unreadable(self) -> None:
        if names := unreadable_drafts(self.directory):
            text = (
                f"En {self.directory} hay archivos a medias de otro usuario, que este no puede abrir: "
                f"{', '.join(names)}; si nadie está haciendo otra copia allí, bórrelos"
            )
            self.context.say("backup_drafts_left", one_line(text), logging.WARNING)

    def _tell_missing(self, backup: Backup) -> None:
        fetch = f"un proveedor tiene otra: tráigala con 'backup download {backup.id} DIRECTORIO' y déjela en su sitio"
        advice = fetch if backup.has_copy else "si está en otro sitio, devuélvalo"
        text = (
            f"el archivo de la copia de seguridad {backup.id} no está en {backup.path}, o no tiene su tamaño, y este "
            f"programa no lo borró; {advice}"
        )
        is_news = self.records.note_missing(backup, one_line(text))
        self.context.say("backup_missing", f"Falta una copia: {text}", logging.WARNING)
        if is_news and not backup.has_copy:
            self.delivery.failures.append(f"falta la copia {backup.id}, que no está en ningún proveedor")


def current_user() -> str:
    """The user who runs the program."""
    return user_name(os.getuid())
