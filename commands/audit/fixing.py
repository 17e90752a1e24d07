"""What `audit --fix` does about findings: one conditional, recorded statement each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from commands.audit.report import Finding, Fix
from config.logs import one_line
from config.process.person import Person
from config.settings import Settings
from jobs.audit.records import Records
from sql.texts import Told


def plan_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """What would be done."""
    for finding in findings:
        if finding.fix is Fix.MIGRATE_AGAIN and finding.copy is not None:
            yield f"Migrar otra vez la ejecución {finding.copy.uuid} desde {one_line(finding.copy.directory)}"
        elif finding.orphan is not None:
            yield f"Retirar {finding.place} de {finding.provider}, que guardó el intento {finding.orphan.attempt_id}"


def fix(records: Records, findings: Sequence[Finding], settings: Settings, person: Person) -> list[Finding]:
    """Do it; return what was left alone, because the database says something else by now. Raises `DatabaseError`."""
    return [finding for finding in findings if not _fix_one(records, finding, settings, person)]


def _fix_one(records: Records, finding: Finding, settings: Settings, person: Person) -> bool:
    signed = {
        "host": Told(settings.host),
        "os_user": Told(one_line(person.os_user)),
        "command": Told(one_line(person.command)),
    }
    if finding.fix is Fix.MIGRATE_AGAIN and finding.copy is not None:
        copy = finding.copy
        parameters = {
            **signed,
            "execution_id": copy.execution_id,
            "uuid": copy.uuid,
            "directory": copy.directory,
            "uri": copy.uri,
            "provider_id": copy.provider_id,
            "detail": Told(finding.detail),
        }
        return bool(records.query("migrate_again", parameters))
    if finding.orphan is not None:
        orphan = {"attempt_id": finding.orphan.attempt_id, "uuid": finding.orphan.uuid}
        return bool(records.query("give_up_orphan", {**signed, **orphan}))
    return False
