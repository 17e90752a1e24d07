"""One drill: restores some executions at random, compares them, records how long that took, and cleans up."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import NamedTuple

from config.errors import MigrationError, RunInterrupted
from config.logs import emit, one_line
from config.text.plurals import counted, executions, files
from config.text.wording import reason_of
from files.tree import Tree
from jobs.context import Context
from jobs.drill.comparison import first_difference
from jobs.drill.restoring import restore
from jobs.drill.scratch import Scratch
from jobs.job import Outcome
from jobs.provider_set import ProviderSet
from sql.database import database_identity
from sql.texts import Told
from storage.keys import place_from_uri
from storage.manifest import fetch_manifest


class Chosen(NamedTuple):
    """A stored execution whose restore is tried out."""

    execution_id: int
    uuid: str
    provider_id: int
    uri: str
    manifest_sha256: str
    size_bytes: int


class Drilled(NamedTuple):
    """How it went: `detail` says in Spanish what was wrong, `None` that nothing was."""

    seconds: float
    file_count: int
    size_bytes: int
    detail: str | None


def run(context: Context) -> Outcome:
    """Raises `RunInterrupted`, `LeaseLost`, `DatabaseError`."""
    scratch = Scratch(context.own_settings.directory, str(database_identity(context.settings.database_url)))
    try:
        scratch.remove_left()
        most_bytes = scratch.most_bytes()
    except OSError as error:
        where = one_line(context.own_settings.directory)
        return Outcome(failures=(f"no se puede restaurar en {where}: {reason_of(error)}; vea JANITOR_DRILL_DIRECTORY",))
    chosen = _choose(context, most_bytes)
    failed = 0
    with closing(ProviderSet.load(context.database, context.interruption)) as providers:
        for execution in chosen:
            context.require_going_on()
            failed += not _drill(context, providers, scratch, execution)
    _notify(context, len(chosen), failed)
    counts = {"restored": len(chosen) - failed, "failed": failed}
    if not failed:
        return Outcome(counts)
    return Outcome(counts, (f"{counted(failed, 'ejecución no se pudo', 'ejecuciones no se pudieron')} restaurar",))


def _choose(context: Context, most_bytes: int) -> list[Chosen]:
    rows = context.query("choose", {"count": context.own_settings.count, "most_bytes": most_bytes})
    return [Chosen(**row) for row in rows]


def _drill(context: Context, providers: ProviderSet, scratch: Scratch, chosen: Chosen) -> bool:
    """Try out one restore, report and record it. Return whether it is good; one moved meanwhile counts as good."""
    drilled = _restored(context, providers, scratch, chosen)
    there = {"execution_id": chosen.execution_id, "uri": chosen.uri, "provider_id": chosen.provider_id}
    if drilled.detail is not None and not context.query("is_stored_there", there)[0]["is_stored_there"]:
        return True
    parameters = {
        **there,
        "host": Told(context.settings.host),
        "uuid": chosen.uuid,
        "is_good": drilled.detail is None,
        "seconds": drilled.seconds,
        "file_count": drilled.file_count,
        "size_bytes": drilled.size_bytes,
        "detail": None if drilled.detail is None else Told(drilled.detail),
    }
    context.query("note_drill", parameters)
    uuid, where = one_line(chosen.uuid), providers.name(chosen.provider_id)
    if drilled.detail is None:
        what = f"{files(drilled.file_count)}, en {drilled.seconds:.1f} s"
        context.say("drilled", f"Simulacro: la ejecución {uuid} se restauró entera de {where}: {what}")
        return True
    message = f"Simulacro: la ejecución {uuid} no se pudo restaurar de {where}: {drilled.detail}; audit dice más"
    emit(logging.ERROR, "drill_failed", message, execution=uuid, provider=where)
    return False


def _restored(context: Context, providers: ProviderSet, scratch: Scratch, chosen: Chosen) -> Drilled:
    began = time.monotonic()
    tree = Tree()
    try:
        with scratch.made() as directory:
            target = directory / "ejecucion"
            detail = restore(chosen.uuid, target, context.settings, context.interruption)
            seconds = time.monotonic() - began
            if detail is None:
                tree = _manifest(context, providers, chosen)
                detail = first_difference(target, tree, context.interruption)
        return Drilled(seconds, tree.file_count, tree.size_bytes, detail)
    except RunInterrupted:
        raise
    except MigrationError as error:
        detail = one_line(error)
    except OSError as error:
        detail = f"no se puede leer o escribir en el directorio del simulacro: {reason_of(error)}"
    return Drilled(time.monotonic() - began, tree.file_count, tree.size_bytes, detail)


def _manifest(context: Context, providers: ProviderSet, chosen: Chosen) -> Tree:
    provider = providers.get(chosen.provider_id)
    if provider is None:
        raise MigrationError("el proveedor no se puede usar")
    return fetch_manifest(provider, place_from_uri(chosen.uri), chosen.manifest_sha256, context.interruption)


def _notify(context: Context, tried: int, failed: int) -> None:
    if failed:
        what = f"{counted(failed, 'ejecución no se pudo', 'ejecuciones no se pudieron')} restaurar en el simulacro"
        context.notify("drill:restores", "needs_person", f"{what}: audit --all dice qué falta")
    elif tried:
        context.notify("drill:restores", "ok", "Lo que se restauró en el último simulacro está entero")


def preview(context: Context) -> None:
    """Say what would be tried out."""
    what = executions(context.own_settings.count)
    where = one_line(context.own_settings.directory)
    context.say("drill_previewed", f"[simulación] Se restaurarían {what} al azar en {where}, y se borrarían después")
