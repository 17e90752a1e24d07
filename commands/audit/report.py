"""The result of an audit, for people and for other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from config.text.plurals import counted, executions
from jobs.audit.examination import Checked, State
from jobs.audit.records import Copy, OwnOrphan

MEGABYTE = 1024 * 1024


class Kind(StrEnum):
    """Kinds of findings."""

    LOST = "lost"
    DAMAGED = "damaged"
    ORPHAN = "orphan"
    UNREADABLE = "unreadable"


class Fix(StrEnum):
    """What `--fix` does about a finding."""

    MIGRATE_AGAIN = "migrate again"
    REMOVE = "remove"


KINDS = {State.LOST: Kind.LOST, State.DAMAGED: Kind.DAMAGED, State.UNREADABLE: Kind.UNREADABLE}
WORDS = {Kind.LOST: "perdida", Kind.DAMAGED: "dañada", Kind.ORPHAN: "huérfana", Kind.UNREADABLE: "sin comprobar"}


class Finding(NamedTuple):
    """One thing that is not as the database says, and what to do about it, in Spanish."""

    kind: Kind
    provider_id: int
    provider: str
    place: str
    detail: str
    to_do: str
    copy: Copy | None = None
    orphan: OwnOrphan | None = None
    fix: Fix | None = None

    def as_json(self) -> dict[str, Any]:
        """As `audit --json` shows it."""
        return {
            "kind": self.kind.value,
            "provider_id": self.provider_id,
            "provider": self.provider,
            "place": self.place,
            "execution_id": self.copy.execution_id if self.copy else None,
            "uuid": self.copy.uuid if self.copy else None,
            "detail": self.detail,
            "to_do": self.to_do,
            "fix": None if self.fix is None else self.fix.value,
        }

    def line(self) -> str:
        """For the terminal."""
        whose = f"ejecución {self.copy.uuid}" if self.copy else self.place
        return f"{WORDS[self.kind]}: {whose} en {self.provider}: {self.detail}. {self.to_do}"


@dataclass(slots=True)
class AtProvider:
    """What was looked at, at one provider."""

    provider_id: int
    name: str
    executions: int = 0
    objects: int | None = None
    """`None` where only a sample was looked at."""
    size_bytes: int | None = None
    checked: Counter[Checked] = field(default_factory=Counter)
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As `audit --json` shows it."""
        return {
            "id": self.provider_id,
            "name": self.name,
            "executions": self.executions,
            "objects": self.objects,
            "size_bytes": self.size_bytes,
            "checksum": self.checked[Checked.CHECKSUM],
            "read_back": self.checked[Checked.READ_BACK],
            "not_checked": self.checked[Checked.NOT_CHECKED],
            "error": self.error,
        }

    def line(self) -> str:
        """For the terminal."""
        if self.error is not None:
            return f"{self.name}: no se pudo comprobar: {self.error}"
        stored = ""
        if self.objects is not None and self.size_bytes is not None:
            stored = f", {counted(self.objects, 'objeto', 'objetos')}, {self.size_bytes / MEGABYTE:.2f} MB"
        return (
            f"{self.name}: {executions(self.executions)}{stored}; bytes comprobados por suma del proveedor: "
            f"{self.checked[Checked.CHECKSUM]}, leídos de vuelta: {self.checked[Checked.READ_BACK]}, sin comprobar: "
            f"{self.checked[Checked.NOT_CHECKED]}"
        )


@dataclass(slots=True)
class Report:
    """All of it."""

    providers: list[AtProvider] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether everything that was to be looked at is as the database says."""
        return not self.findings and all(provider.error is None for provider in self.providers)

    def as_json(self) -> Mapping[str, Any]:
        """As `audit --json` shows it; see docs/schemas/audit.json."""
        kinds = Counter(finding.kind for finding in self.findings)
        return {
            "ok": self.is_good,
            "counts": {kind.value: kinds[kind] for kind in Kind},
            "providers": [provider.as_json() for provider in self.providers],
            "findings": [finding.as_json() for finding in self.findings],
        }

    def lines(self) -> Iterator[str]:
        """For the terminal, what is wrong first."""
        yield from (finding.line() for finding in self.findings)
        yield from (provider.line() for provider in self.providers)
        if self.is_good:
            yield "Todo está como dice la base de datos"

    def fixable(self) -> Sequence[Finding]:
        """What `--fix` can do something about."""
        return [finding for finding in self.findings if finding.fix is not None]
