"""One run of the job: finds the copies that are not at the primary provider, and has them brought there."""

from __future__ import annotations

from itertools import chain

from config.models import MigrationPolicy
from config.text.plurals import executions
from jobs.context import Context
from jobs.job import Outcome
from jobs.rehome.away import count_away, find_away

MEGABYTE = 1024 * 1024


def run(context: Context) -> Outcome:
    """Bring copies to the primary provider. Raises `RunInterrupted`, `LeaseLost`, `DatabaseError`, `FieldError`."""
    policy = context.database.load_policy() or MigrationPolicy()
    if policy.primary_provider_id is None:
        context.say("rehome_without_primary", "No hay proveedor primario (nube_primaria_id): nada se lleva a ninguno")
        return Outcome()
    away = find_away(context, policy.primary_provider_id)
    first = next(away, None)
    if first is None:
        return Outcome()
    from jobs.rehome.bringing import bring_all  # most ticks find nothing and need not pay for it

    return bring_all(context, policy.primary_provider_id, policy.key_prefix, chain((first,), away))


def preview(context: Context) -> None:
    """Say how much a run would bring to the primary provider, and from where."""
    policy = context.database.load_policy() or MigrationPolicy()
    if policy.primary_provider_id is None:
        context.say("rehome_previewed", "[simulación] No hay proveedor primario: nada se llevaría a ninguno")
        return
    from jobs.provider_set import ProviderSet

    providers = ProviderSet.load(context.database, context.interruption)
    home = providers.name(policy.primary_provider_id)
    found = count_away(context, policy.primary_provider_id)
    for there in found:
        more = "más de " if there.is_cut else ""
        context.say(
            "rehome_previewed",
            f"[simulación] Se llevarían a {home} {more}{executions(there.executions)} que están en "
            f"{providers.name(there.provider_id)}, {more}{there.size_bytes / MEGABYTE:.2f} MB",
        )
    if not found:
        context.say("rehome_previewed", f"[simulación] Todo está en {home}: no se llevaría nada")
