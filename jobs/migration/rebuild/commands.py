"""The command `rebuild`: thin, as `run` does the work."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

import click

from config.errors import ConfigurationError
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line, printable_json
from config.models import MigrationPolicy, ProviderRow
from config.options import SpanishCommand, not_empty, transfers_option
from config.settings import Settings
from config.text.plurals import counted
from jobs.migration.rebuild.run import RIGHTS, Finding, Rebuild, State
from jobs.migration.restore.many.wanted import provider_id_of
from jobs.signals import stopping_on_signal
from providers import build_provider
from providers.base import Provider
from sql.database import Database, SchemaError
from storage.traffic.transfers import TransferPool

WORDS = {State.LEFT: "Se deja", State.UNUSABLE: "No vale"}


@click.command("rebuild", cls=SpanishCommand, short_help="Rehace filas perdidas, a partir de las copias.")
@click.option("--provider", metavar="ID|NOMBRE", required=True, callback=not_empty, help="El proveedor que se mira.")
@click.option("--prefix", metavar="P", help="El prefijo de las claves (por defecto, prefijo_ruta_nube).")
@click.option("--write/--dry-run", default=False, help="Escribir las filas, o solo decir cuáles (por defecto).")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@transfers_option
@click.pass_obj
def rebuild(
    settings: Settings, provider: str, prefix: str | None, transfers: dict[str, int], *, write: bool, as_json: bool
) -> int:
    """Rehace las filas de ejecuciones_yaml que se han perdido, a partir de los manifiestos de un proveedor.

    Solo de copias enteras: con manifiesto, y con todos sus ficheros y tamaños en el listado. Las filas que hay no se
    tocan. Sin --write solo dice qué escribiría. Si se interrumpe, la misma orden sigue.
    """
    interruption = threading.Event()
    sums: Counter[State] = Counter()
    with (
        contextlib.closing(Database(settings.database_url, settings.host)) as database,
        contextlib.closing(TransferPool(transfers.get("transfers", settings.transfers))) as pool,
        stopping_on_signal(interruption),
    ):
        database.connect()
        database.require_current_schema()
        if write:
            _require_rights(database)
        found = _provider(database, provider_id_of(database, provider))
        found.progress.interruption = interruption
        with contextlib.closing(found):
            rebuilding = Rebuild(database, found, _prefix(database, prefix), settings.host, pool, interruption)
            findings = _counted(rebuilding.findings(write=write), sums)
            for line in (_json_of if as_json else _lines_of)(rebuilding, findings, sums, write=write):
                click.echo(line)
    return EXIT_SOMETHING_FAILED if sums[State.LEFT] or sums[State.UNUSABLE] else EXIT_DONE


def _counted(findings: Iterable[Finding], sums: Counter[State]) -> Iterator[Finding]:
    for finding in findings:
        sums[finding.state] += 1
        yield finding


def _lines_of(_: Rebuild, findings: Iterable[Finding], sums: Counter[State], *, write: bool) -> Iterator[str]:
    """What people read: a line for each that is not as it should be, and one with the sums."""
    for finding in findings:
        word = WORDS.get(finding.state, "Escrita" if write else "Se escribiría")
        if finding.state is not State.KNOWN:
            yield one_line(f"{word} {finding.uuid}: {finding.text}")
    yield _sums_line(sums, write=write)


def _json_of(rebuilding: Rebuild, findings: Iterable[Finding], sums: Counter[State], *, write: bool) -> Iterator[str]:
    """The same as the lines of one JSON object, an execution a line."""
    provider = rebuilding.provider
    head = {"provider": provider.name, "provider_id": provider.id, "prefix": rebuilding.prefix, "written": write}
    yield printable_json(head)[:-1] + ', "executions": ['
    pending = ""
    for finding in findings:
        if pending:
            yield f"{pending},"
        pending = printable_json(_fields_of(finding, provider))
    yield pending
    yield f'], "sums": {printable_json({state.value: sums[state] for state in State})}}}'


def _fields_of(finding: Finding, provider: Provider) -> dict[str, object]:
    fields: dict[str, object] = {"execution": finding.uuid, "state": finding.state.value, "text": finding.text}
    copy = finding.copy
    if copy is None:
        return fields
    executed_at = None if copy.executed_at is None else copy.executed_at.isoformat()
    return fields | {
        "uri": copy.place.uri(provider.kind), "directory": copy.directory, "executed_at": executed_at,
        "file_count": copy.sums.file_count, "size_bytes": copy.sums.size_bytes,
    }  # fmt: skip


def _require_rights(database: Database) -> None:
    """Raises `SchemaError`, which names what is missing."""
    missing = [right.words for right in database.missing_job_rights(RIGHTS)]
    if missing:
        raise SchemaError(
            f"para rehacer filas el usuario de la base de datos necesita además {', '.join(missing)}, y USAGE de la "
            "secuencia de ejecuciones_yaml.id: concédaselo (GRANT) mientras dura"
        )


def _provider(database: Database, provider_id: int) -> Provider:
    """The provider, active or not. Raises `InvalidProviderSettings`, and `ConfigurationError` for an unreadable row."""
    row = next((row for row in database.load_provider_rows() if row.id == provider_id), None)
    if row is None:
        raise ConfigurationError(f"el proveedor con id {provider_id} ya no existe")
    if not isinstance(row, ProviderRow):
        raise ConfigurationError(f"el proveedor con id {provider_id} no se puede usar: {row.error}")
    return build_provider(row)


def _prefix(database: Database, written: str | None) -> str:
    if written is None:
        return (database.load_policy() or MigrationPolicy()).key_prefix
    return "/".join(part for part in written.split("/") if part)


def _sums_line(sums: Counter[State], *, write: bool) -> str:
    lost = sums[State.LOST]
    done = counted(lost, "fila escrita", "filas escritas") if write else counted(lost, "fila perdida", "filas perdidas")
    known = counted(sums[State.KNOWN], "tiene ya la suya", "tienen ya la suya")
    left = counted(sums[State.LEFT], "se deja como está", "se dejan como están")
    unusable = counted(sums[State.UNUSABLE], "copia no vale", "copias no valen")
    advice = "; repita la orden con --write para escribirlas" if lost and not write else ""
    if not sums.total():
        advice = (
            "; no hay ninguna copia: si la instalación que las guardó tenía otro prefijo_ruta_nube (el primer "
            "directorio allí, como produccion), dígalo con --prefix"
        )
    return f"{done}; {known}; {left}; {unusable}{advice}"
