"""What `hold`, `release` and `retry` answer: what the order did for each row of a uuid, and what happens next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from config.errors import ConfigurationError
from config.logs import one_line
from config.text.causes import CAUSES
from config.text.plurals import counted, executions
from sql.memory.orders import OrderedRow, Quarantined


class OrderWithoutEffect(ConfigurationError):
    """The order concerns nothing that exists. The message is in Spanish."""


def describe_hold(uuid: str, rows: Sequence[OrderedRow]) -> Iterator[str]:
    """What `hold` did. Raises `OrderWithoutEffect`."""
    _require_known(uuid, rows)
    if not any(row.is_changed or row.is_held for row in rows):
        raise OrderWithoutEffect(f"la ejecución {one_line(uuid)} {_why_not_held(rows)}: no hay nada que retener")
    for row in rows:
        if row.is_changed or row.is_held:
            done = "retenida" if row.is_changed else "ya estaba retenida por el mismo motivo"
            yield f"Ejecución {one_line(uuid)}{_of(row, rows)} {done}: {_what_is_held(row)}"


def describe_release(uuid: str, rows: Sequence[OrderedRow]) -> Iterator[str]:
    """What `release` did. Raises `OrderWithoutEffect`."""
    _require_known(uuid, rows)
    if not any(row.is_changed for row in rows):
        raise OrderWithoutEffect(f"la ejecución {one_line(uuid)} no está retenida: no hay nada que soltar")
    for row in rows:
        if row.is_changed:
            yield f"Ejecución {one_line(uuid)}{_of(row, rows)} liberada: {_what_is_released(row)}"


def describe_retry(uuid: str, rows: Sequence[OrderedRow]) -> Iterator[str]:
    """What `retry` did. Raises `OrderWithoutEffect`."""
    _require_known(uuid, rows)
    if not any(row.is_changed for row in rows):
        raise OrderWithoutEffect(f"la ejecución {one_line(uuid)} {_why_not_retried(rows)}")
    for row in rows:
        if row.is_changed:
            held = "; sigue retenida: antes hay que ejecutar release" if row.is_held else ""
            what = "se vuelve a borrar su copia local" if row.is_migrated else "se vuelve a intentar"
            yield f"Ejecución {one_line(uuid)}{_of(row, rows)}: {what} en el próximo ciclo{held}"


def describe_quarantined(chosen: Sequence[Quarantined]) -> Iterator[str]:
    """What `retry --all` would take up again, by cause, the most frequent first."""
    yield f"En cuarentena: {executions(len(chosen))}"
    by_code: dict[str | None, list[Quarantined]] = {}
    for each in chosen:
        by_code.setdefault(each.error_code, []).append(each)
    for code, alike in sorted(by_code.items(), key=lambda item: -len(item[1])):
        cause = CAUSES.get(code or "", code or "sin causa anotada")
        example = one_line(f"{alike[0].uuid}: {alike[0].error}")
        yield f"  {executions(len(alike))}: {cause}; por ejemplo {example}"


def describe_retried(held: Sequence[bool], asked: int) -> Iterator[str]:
    """What `retry --all` did: for each that it took up, whether it is held."""
    if held:
        yield f"Fuera de la cuarentena: {executions(len(held))}; el próximo ciclo lo vuelve a intentar"
    if any(held):
        yield f"{counted(sum(held), 'sigue retenida', 'siguen retenidas')}: antes hay que ejecutar release"
    if len(held) < asked:
        yield f"Sin cambios, porque un ciclo se ocupa ya o no hace falta: {executions(asked - len(held))}"


def _require_known(uuid: str, rows: Sequence[OrderedRow]) -> None:
    if not rows:
        raise OrderWithoutEffect(f"no hay ninguna ejecución con uuid {one_line(uuid)}; compruebe que está bien escrito")


def _of(row: OrderedRow, rows: Sequence[OrderedRow]) -> str:
    """Tells rows of the same uuid apart."""
    return f" (fila {row.execution_id}, una de {len(rows)} con ese uuid)" if len(rows) > 1 else ""


def _what_is_held(row: OrderedRow) -> str:
    if row.is_migrated:
        stops = "se detiene en un segundo" if row.is_under_way else "no sigue"
        return f"ya está migrada; el borrado de su copia local {stops}, y lo que falte lo tiene su copia probada"
    if row.is_under_way:
        return "se está migrando ahora y termina de subir; su copia local no se borra"
    return "no se migra ni se borra su copia local"


def _what_is_released(row: OrderedRow) -> str:
    if row.execution_id is None or row.is_migrated is None:
        return "su fila ya no está"
    if row.is_migrated:
        removal = "; el borrado de su copia local sigue en el próximo ciclo" if row.local_copy == "deleting" else ""
        return f"está migrada{removal}"
    return "se migra cuando le toque"


def _why_not_held(rows: Iterable[OrderedRow]) -> str:
    gone = all(row.local_copy == "deleted" for row in rows)
    return "ya está migrada y su copia local ya se borró" if gone else "ya está migrada y su copia local se conserva"


def _why_not_retried(rows: Sequence[OrderedRow]) -> str:
    if any(row.is_under_way for row in rows):
        return "la tiene un ciclo en marcha: espere a que acabe, y si vuelve a fallar repita la orden"
    if any(row.is_held for row in rows):
        return "está retenida y no tiene fallos: ejecute release"
    if all(row.is_migrated for row in rows):
        return "ya está migrada: no hay nada que reintentar"
    return "no tiene fallos que olvidar: se migra cuando le toque"
