"""Brings copies to the primary provider one after the other, within the bytes of a tick, and reports each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from config.errors import MigrationError, RunInterrupted, unexpected
from config.logs import emit, one_line
from config.models import Claim
from config.text.plurals import counted
from jobs.context import Context
from jobs.job import Outcome
from jobs.provider_set import ProviderSet
from jobs.provider_state.memory import ProviderMemory
from jobs.rehome.away import Away
from jobs.rehome.move import Move, Moved
from jobs.rehome.records import Records
from sql.database import DatabaseBusy
from storage.traffic.pace import Traffic
from storage.traffic.transfers import TransferPool


@dataclass(slots=True)
class Tally:
    """What a run has done so far."""

    rehomed: int = 0
    rehomed_bytes: int = 0
    found_equal: int = 0
    failed: int = 0
    begun_bytes: int = 0

    def note(self, moved: Moved) -> None:
        """Count a copy that is at the primary provider now."""
        self.rehomed += 1
        if moved.was_copied:
            self.rehomed_bytes += moved.copy.size_bytes
        else:
            self.found_equal += 1

    def outcome(self) -> Outcome:
        """What the run is recorded with."""
        counts = {"rehomed": self.rehomed, "rehomed_bytes": self.rehomed_bytes, "found_equal": self.found_equal}
        if not self.failed:
            return Outcome(counts)
        what = counted(self.failed, "ejecución no se pudo", "ejecuciones no se pudieron")
        return Outcome({**counts, "failed": self.failed}, (f"{what} llevar al proveedor primario",))


def bring_all(context: Context, home_id: int, key_prefix: str, away: Iterator[Away]) -> Outcome:
    """Bring copies to the primary provider until the limit of a tick. Raises `RunInterrupted`, `LeaseLost`,
    `DatabaseError`.
    """
    traffic = Traffic(context.settings.bandwidth, context.interruption)
    memory = ProviderMemory(context.database, key_prefix)
    notes = context.settings.unfinished_directory
    with (
        closing(ProviderSet.load(context.database, context.interruption, memory, notes)) as providers,
        closing(TransferPool(context.settings.transfers, traffic)) as pool,
    ):
        home = providers.get(home_id)
        if home is None:
            context.say("rehome_put_off", "El proveedor primario no se puede usar: nada se lleva a él por ahora")
            return Outcome()
        tally = _bring_in_turn(context, Move(Records(context), providers, home, key_prefix, pool), away)
        providers.settle()
    if tally.rehomed:
        context.say(
            "rehome_old_copies",
            "Las copias antiguas de lo llevado las borra el próximo ciclo de migración; hasta entonces deje activo el "
            "proveedor en que están: janitor-daemon status dice cuántas quedan",
        )
    _notify(context, tally)
    return tally.outcome()


def _notify(context: Context, tally: Tally) -> None:
    """Note whether anything stays at an alternate though it should not."""
    if tally.failed:
        what = counted(tally.failed, "ejecución no se pudo", "ejecuciones no se pudieron")
        text = f"{what} llevar al proveedor primario, y siguen donde están: el registro dice por qué"
        context.notify("rehome:copies", "degraded", text)
    elif tally.rehomed:
        context.notify("rehome:copies", "ok", "Lo que estaba en otro proveedor se lleva al primario")


def _bring_in_turn(context: Context, move: Move, away: Iterator[Away]) -> Tally:
    tally = Tally()
    max_bytes = context.own_settings.max_bytes
    for copy in away:
        context.require_going_on()
        if move.providers.get(move.home.id) is None:
            break  # the log has said why it is not used any more
        if max_bytes is not None and tally.begun_bytes and tally.begun_bytes + copy.size_bytes > max_bytes:
            context.say("rehome_limit_reached", "Se alcanzó JANITOR_REHOME_MAX_BYTES: el resto, en el próximo ciclo")
            break
        tally.begun_bytes += copy.size_bytes
        claim = move.records.claim(copy)
        if claim is not None:
            _bring_home(context, move, copy, claim, tally)
    return tally


def _bring_home(context: Context, move: Move, away: Away, claim: Claim, tally: Tally) -> None:
    """Bring one copy home; report and record what comes of it. Raises `RunInterrupted`, `DatabaseUnavailable`."""
    try:
        moved = move.bring_home(away, claim)
    except RunInterrupted:
        raise
    except (MigrationError, DatabaseBusy) as error:
        _note_failed(move, away, claim, error if isinstance(error, MigrationError) else unexpected(error))
        tally.failed += 1
        return
    tally.note(moved)
    how = "" if moved.was_copied else ", que ya tenía una copia igual"
    uuid = one_line(away.uuid)
    context.say("rehomed", f"Ejecución {uuid} llevada a {move.home.name}{how}: ahora está en {moved.copy.uri}")


def _note_failed(move: Move, away: Away, claim: Claim, error: MigrationError) -> None:
    next_at = move.records.fail(away, claim, move.home.id, error)
    again = "" if next_at is None else f"; no se intenta otra vez hasta el {next_at.astimezone():%Y-%m-%d a las %H:%M}"
    uuid = one_line(away.uuid)
    message = f"La ejecución {uuid} sigue en {one_line(away.uri)}, pues no se pudo llevar a {move.home.name}: "
    emit(
        logging.ERROR,
        "rehome_failed",
        f"{message}{one_line(error)}{again}",
        cause=error,
        execution=uuid,
        error_code=error.code,
    )
