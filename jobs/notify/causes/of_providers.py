"""Causes that concern a provider: it cannot be used, has no row, or is replaced by another."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.notify.causes.seen import Seen, open_causes
from jobs.report import Observed
from sql.memory.notices import Cause, State


def providers(seen: Seen) -> Iterator[Cause]:
    """A provider of the policy cannot be used, as any host has found out."""
    used = seen.policy.provider_ids if seen.failing_providers and seen.policy is not None else ()
    keys = []
    for provider in seen.failing_providers:
        if provider["id"] not in used:
            continue
        keys.append(f"provider:{provider['id']}:unusable")
        text = f"El proveedor {provider['name']} no se puede usar: {provider['error']}"
        if provider["error_code"] == "storage_full":
            text = f"Al proveedor {provider['name']} le falta espacio: {provider['error']}"
            yield Cause(keys[-1], State.NEEDS_PERSON, f"{text}; libere espacio o amplíe la cuota: se reintenta solo")
        elif provider["needs_a_person"]:
            text = f"{text}; arréglelo y compruébelo con 'janitor-daemon check'"
            yield Cause(keys[-1], State.NEEDS_PERSON, text)
        else:
            yield Cause(keys[-1], State.FAILED, f"{text}; se repite solo")
    for key in open_causes(seen, "provider:"):
        if key.endswith(":unusable") and key not in keys:
            yield Cause(
                key, State.OK, f"El proveedor {seen.provider(key.split(':')[1])} vuelve a funcionar, o ya no se usa"
            )


def missing_providers(seen: Seen) -> Iterator[Cause]:
    """A provider that the policy names has no row any more: what it stands for is not used, and nothing fails."""
    for provider_id in seen.missing_providers:
        text = (
            f"ejecuciones_config nombra el proveedor con id {provider_id}, que no existe en cloud_providers: no se "
            "usa; devuelva su fila, o quítelo de ejecuciones_config"
        )
        yield Cause(f"provider:{provider_id}:missing", State.NEEDS_PERSON, text)
    for key in open_causes(seen, "provider:"):
        provider_id = key.split(":")[1]
        if key.endswith(":missing") and provider_id not in seen.missing_providers:
            text = f"El proveedor {seen.provider(provider_id)} vuelve a tener fila, o ya no se usa"
            yield Cause(key, State.OK, text)


def fallback(seen: Seen) -> Iterator[Cause]:
    """Executions go to an alternate, because the primary does not take them."""
    replaced = seen.observed.get(Observed.WAS_REPLACED, {})
    for provider_id, other in replaced.items():
        text = (
            f"Se usa el proveedor alternativo {other}, porque el primario {seen.provider(provider_id)} no lo acepta "
            "todo; en cuanto funcione, lo nuevo vuelve a él"
        )
        yield Cause(f"provider:{provider_id}:replaced", State.DEGRADED, text)
    for provider_id in seen.observed.get(Observed.WORKED, {}).keys() - replaced.keys():
        yield Cause(
            f"provider:{provider_id}:replaced", State.OK, f"Lo nuevo vuelve al proveedor {seen.provider(provider_id)}"
        )
    for key in open_causes(seen, "provider:"):
        if key.endswith(":replaced") and seen.policy and seen.policy.primary_provider_id != int(key.split(":")[1]):
            yield Cause(key, State.OK, f"El proveedor {seen.provider(key.split(':')[1])} ya no es el primario")
