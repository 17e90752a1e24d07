"""One audit: of a sample, of one provider, or of all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from commands.audit.originals import Original, original_of
from commands.audit.report import KINDS, AtProvider, Finding, Fix, Kind, Report
from config.errors import MigrationError, RunInterrupted
from config.logs import emit, one_line
from config.models import MigrationPolicy
from config.settings import Settings
from config.text.plurals import counted
from jobs.audit.examination import Checked, Examined, State, examine
from jobs.audit.records import FOLDER, Copy, Records
from jobs.audit.survey import Orphan, Survey
from jobs.migration.directories import DirectoryJudge
from jobs.provider_set import ProviderSet
from sql.database import Database
from sql.rights import described
from storage.keys import shared_prefix
from storage.traffic.pace import Traffic
from storage.traffic.transfers import TransferPool

MEGABYTE = 1024 * 1024

TO_DO = {
    Original.WHOLE: "Su directorio está entero en {directory}: audit --fix hace que se migre otra vez",
    Original.PART: (
        "Su directorio {directory} no tiene todo lo que la copia tenía, y lo que queda de ella no se sustituye por "
        "menos: termine la restauración si quedó a medias, o complételo, y repita audit"
    ),
    Original.UNKNOWN: (
        "No se pudo comparar su directorio {directory} con el manifiesto, que el proveedor no entrega ahora: vea con "
        "check qué le pasa, y repita audit"
    ),
    Original.ABSENT: (
        "Aquí no está su directorio: mire en las demás máquinas (audit --fix allí), o recupere los objetos con las "
        "versiones o las copias del proveedor"
    ),
}


class Scope(NamedTuple):
    """What to look at: `sample` copies at random, or everything; at one provider, or at all."""

    provider_id: int | None
    sample: int | None
    every_byte: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit needs."""

    records: Records
    providers: ProviderSet
    pool: TransferPool
    judge: DirectoryJudge
    parent: str
    """The common prefix of places that are new."""
    stop: threading.Event

    def run(self, scope: Scope) -> Report:
        """Raises `RunInterrupted`, `DatabaseError`. What concerns one provider is in the report."""
        report = Report()
        if scope.sample is not None:
            self._sample(scope, scope.sample, report)
            return report
        asked = self.records.provider_ids() if scope.provider_id is None else [scope.provider_id]
        for provider_id in asked:
            self._survey(provider_id, scope, report)
        return report

    # A sample

    def _sample(self, scope: Scope, size: int, report: Report) -> None:
        by_provider: dict[int, AtProvider] = {}
        for copy in self.records.sample(size, scope.provider_id):
            name = self.providers.name(copy.provider_id)
            at = by_provider.setdefault(copy.provider_id, AtProvider(copy.provider_id, name))
            provider = self.providers.get(copy.provider_id)
            if provider is None:
                at.error = "no se puede usar; check dice por qué"
                continue
            at.executions += 1
            begun = self.records.now()
            examined = examine(provider, copy, self.pool, self.stop, every_byte=True)
            if examined.is_telling:
                self.records.note(copy, examined.as_recorded(), begun)
            at.checked[examined.checked] += 1
            if examined.state is not State.WHOLE and self.records.is_unchanged(copy):
                report.findings.append(self._of_copy(copy, examined))
        report.providers += by_provider.values()

    # Everything

    def _survey(self, provider_id: int, scope: Scope, report: Report) -> None:
        at = AtProvider(provider_id, self.providers.name(provider_id))
        report.providers.append(at)
        provider = self.providers.get(provider_id)
        if provider is None:
            at.error = "no se puede usar; check dice por qué"
            return
        same_store = [
            other_id
            for other_id in {provider_id, *self.records.provider_ids()}
            if (other := self.providers.get(other_id)) is not None and other.store == provider.store
        ]
        survey = Survey(self.records, provider, same_store, self.parent, self.pool, self.stop)
        try:
            surveyed = survey.run(every_byte=scope.every_byte)
        except RunInterrupted:
            raise
        except MigrationError as error:
            at.error = one_line(error)
            return
        at.executions, at.objects, at.size_bytes = surveyed.executions, surveyed.objects, surveyed.size_bytes
        at.checked.update(surveyed.evidence)
        at.checked[Checked.NOT_CHECKED] += sum(
            found.examined.checked is Checked.NOT_CHECKED for found in surveyed.found
        )
        report.findings += (self._of_copy(found.copy, found.examined) for found in surveyed.found)
        report.findings += self._of_orphans(surveyed.orphans, provider_id)

    # Findings

    def _of_copy(self, copy: Copy, examined: Examined) -> Finding:
        kind = KINDS[examined.state]
        to_do, fix = "Vea con check qué le pasa al proveedor, y repita audit", None
        if kind is not Kind.UNREADABLE:
            original = original_of(copy, self.providers.get(copy.provider_id), self.judge, self.stop)
            to_do = TO_DO[original].format(directory=one_line(copy.directory))
            fix = Fix.MIGRATE_AGAIN if original is Original.WHOLE else None
        where = self.providers.name(copy.provider_id)
        place = copy.place.key_prefix if copy.place else one_line(copy.uri)
        return Finding(kind, copy.provider_id, where, place, examined.detail, to_do, copy=copy, fix=fix)

    def _of_orphans(self, orphans: Sequence[Orphan], provider_id: int) -> Iterator[Finding]:
        own = self.records.own_orphans([orphan.place for orphan in orphans], provider_id)
        for orphan in orphans:
            of_ours = own.get(orphan.place)
            detail = f"{counted(orphan.objects, 'objeto', 'objetos')}, {orphan.size_bytes / MEGABYTE:.2f} MB, sin fila"
            to_do = (
                "No consta que lo guardara esta base de datos: mire de quién es, y retírelo usted si sobra"
                if of_ours is None
                else "Lo dejó un intento de esta base de datos: con audit --fix lo retira el próximo ciclo"
            )
            yield Finding(
                Kind.ORPHAN, provider_id, self.providers.name(provider_id), orphan.place, detail, to_do,
                orphan=of_ours, fix=None if of_ours is None else Fix.REMOVE,
            )  # fmt: skip


@contextmanager
def prepared_audit(database: Database, settings: Settings, stop: threading.Event) -> Iterator[Audit]:
    """An audit with connections of its own. Raises `DatabaseError`, `FieldError`."""
    database.connect()
    database.require_current_schema()
    policy = database.load_policy() or MigrationPolicy()
    has_results = _has_results(database)
    records = Records(lambda name, parameters: database.job_query(FOLDER, name, parameters), has_results)
    with (
        closing(ProviderSet.load(database, stop)) as providers,
        closing(TransferPool(settings.transfers, Traffic(settings.bandwidth, stop))) as pool,
    ):
        judge = DirectoryJudge(settings.roots)
        yield Audit(records, providers, pool, judge, shared_prefix(policy.key_prefix), stop)


def _has_results(database: Database) -> bool:
    """Whether what is found can be recorded; an audit by a role that only reads is as good, and says so."""
    missing = database.missing_job_rights({"janitor_audits": "SELECT, INSERT, UPDATE"})
    if not missing and not database.ask("is_read_only")[0]["read_only"]:
        return True
    why = f"falta permiso de {described(missing)}" if missing else "la base de datos solo admite lecturas"
    emit(logging.WARNING, "audit_not_recorded", f"Lo que se encuentre no queda anotado: {why}")
    return False
