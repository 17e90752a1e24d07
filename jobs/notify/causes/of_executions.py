"""Causes that concern executions: those in quarantine, and those that wait too long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from config.logs import one_line
from config.models import MigrationPolicy
from jobs.notify.causes.seen import QUARANTINED_TOLD_ONE_BY_ONE, Seen, open_causes
from sql.memory.notices import Cause, State


def quarantined(seen: Seen) -> Iterator[Cause]:
    """An execution failed in too many runs, so none takes it up any more. More than a few are reported together."""
    together = "executions:quarantined"
    if len(seen.quarantined) > QUARANTINED_TOLD_ONE_BY_ONE:
        text = (
            f"Hay más de {QUARANTINED_TOLD_ONE_BY_ONE} ejecuciones en cuarentena; 'janitor-daemon status' dice cuáles, "
            "y 'janitor-daemon retry --all' las repite todas"
        )
        yield Cause(together, State.NEEDS_PERSON, text)
        return
    keys = [f"execution:{row['uuid']}:quarantined" for row in seen.quarantined]
    for key, row in zip(keys, seen.quarantined, strict=True):
        text = (
            f"La ejecución {row['uuid']} está en cuarentena, y ningún ciclo la intenta ya: {row['error']}; arréglelo y "
            f"ejecute 'janitor-daemon retry {row['uuid']}'"
        )
        yield Cause(key, State.NEEDS_PERSON, text)
    yield Cause(together, State.OK, "Quedan pocas ejecuciones en cuarentena")
    for key in open_causes(seen, "execution:"):
        if key.endswith(":quarantined") and key not in keys:
            uuid = key.split(":", 1)[1].removesuffix(":quarantined")
            yield Cause(key, State.OK, f"La ejecución {uuid} salió de la cuarentena")


def stalled(seen: Seen) -> Iterator[Cause]:
    """Nothing was migrated for days, though something here is due: also where migration is off, as nobody may know."""
    days = seen.settings.stalled_days
    overdue = None
    if _is_without_provider(seen):
        return
    if seen.days_since_migration is None or seen.days_since_migration > days:
        overdue = _first_overdue_here(seen)
    key = f"migration:{seen.host}:stalled"
    if overdue is None:
        yield Cause(key, State.OK, "La migración vuelve a avanzar")
        return
    uuid, executed_at = overdue
    text = (
        f"No se ha migrado nada en {days} días y hay ejecuciones que tocan: la más antigua es {one_line(uuid)}, del "
        f"{executed_at.astimezone(seen.context.settings.time_zone):%d/%m/%Y}; "
    )
    why = _why_it_is_off(seen.policy or MigrationPolicy())
    if why is None:
        yield Cause(key, State.FAILED, f"{text}'janitor-daemon status' dice por qué")
    else:
        yield Cause(key, State.NEEDS_PERSON, f"{text}{why}")


def behind(seen: Seen) -> Iterator[Cause]:
    """Every run ends at its limit, and what it leaves grows old: nothing fails, and nobody would notice."""
    report, days = seen.context.report, seen.days_since_migration
    if report is None or not any(done.name == "migration" for done in report.jobs):
        return
    is_stalled = days is None or days > seen.settings.stalled_days  # a cause of its own
    limit = report.limit_reached
    overdue = None if limit is None or is_stalled else _first_overdue_here(seen)
    key = f"migration:{seen.host}:behind"
    if overdue is None:
        yield Cause(key, State.OK, "La migración vuelve a dar abasto")
        return
    uuid, executed_at = overdue
    text = (
        f"La migración no da abasto: el ciclo llegó a su límite ({limit}) y queda por migrar {one_line(uuid)}, del "
        f"{executed_at.astimezone(seen.context.settings.time_zone):%d/%m/%Y}; suba el límite, o haga más ciclos"
    )
    yield Cause(key, State.DEGRADED, text)


def _is_without_provider(seen: Seen) -> bool:
    """Whether each provider of the policy is a cause of its own, so that nothing can be migrated."""
    told = {str(each["id"]) for each in seen.failing_providers} | set(seen.missing_providers)
    return bool(seen.wanted_providers) and told.issuperset(seen.wanted_providers)


def _why_it_is_off(policy: MigrationPolicy) -> str | None:
    if policy.primary_provider_id is None:
        return "ejecuciones_config no tiene ninguna fila, o su nube_primaria_id está vacía: corríjalo"
    if not policy.migrate_automatically:
        return "está desactivada (migrar_automaticamente): si no es a propósito, actívela"
    return None


def _first_overdue_here(seen: Seen) -> tuple[str, datetime] | None:
    found = ((uuid, executed_at) for uuid, directory, executed_at in seen.overdue() if Path(directory).is_dir())
    return next(found, None)
