"""The commands that bring executions back, and those that look into a copy: thin, as other modules do the work."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from config.errors import ConfigurationError
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import emit, one_line
from config.options import SpanishCommand, bandwidth_option, directory_to_fill, given, not_empty, transfers_option
from config.process.last_line import in_time, in_units
from config.settings import Settings
from config.text.amounts import AmountError, parse_duration
from config.text.plurals import counted, executions, files
from config.text.wording import output_failure, reason_of
from jobs.migration.restore.archived import request_from, request_restore
from jobs.migration.restore.contents import describe_entries, entries_of, json_of_entries, signed_url
from jobs.migration.restore.filling import Restored
from jobs.migration.restore.include import Include
from jobs.migration.restore.many.run import Checking, Done, Restoring, Sums, Work, for_each_execution
from jobs.migration.restore.many.targets import Targets, WhereTheyWere, below_one_directory
from jobs.migration.restore.many.wanted import Named, Selected, Wanted, beginning_of, end_of, provider_id_of
from jobs.migration.restore.progress import SharedProgress, Show, showing
from jobs.migration.restore.run import restore_execution
from jobs.migration.restore.source import StoredCopy, stored_copy
from jobs.migration.restore.trail import note_restored, note_url_signed
from jobs.signals import stopping_on_signal
from sql.database import Database
from sql.platform.stored_executions import StoredExecution
from storage.traffic.pace import Traffic, transfers_within
from storage.traffic.transfers import TransferPool


def _database_of(settings: Settings) -> contextlib.closing[Database]:
    """The database in the settings, closed at the end of a `with`."""
    return contextlib.closing(Database(settings.database_url, settings.host))


@dataclass(frozen=True, slots=True)
class Selection:
    """How the command line says which executions it is about."""

    uuids: tuple[str, ...]
    provider: str | None
    since: str | None
    until: str | None

    @property
    def is_of_provider_or_period(self) -> bool:
        """Whether it names none of them by itself."""
        return not (self.provider is None and self.since is None and self.until is None)

    def wanted(self, database: Database, settings: Settings) -> Wanted:
        """Raises `ConfigurationError` for an unknown provider or an empty period, and `DatabaseError`."""
        if self.uuids:
            return Named(self.uuids)
        provider_id = None if self.provider is None else provider_id_of(database, self.provider)
        zone = settings.time_zone
        since = None if self.since is None else beginning_of(self.since, zone)
        until = None if self.until is None else end_of(self.until, zone)
        if since is not None and until is not None and since >= until:
            raise ConfigurationError(f"--since {self.since} es posterior a --until {self.until}: cambie una por otra")
        return Selected(provider_id, since, until)


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Require a day, or a day and a time."""
    try:
        if text is not None:
            datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise click.BadParameter("debe ser un día, 2024-05-01, o un día y una hora, '2024-05-01 13:30'") from error
    return text


def _include(_context: click.Context, _parameter: click.Parameter, patterns: Sequence[str]) -> Include:
    try:
        if any(not pattern.strip("/") for pattern in patterns):
            raise click.BadParameter("está vacío")
        return Include(patterns)
    except ValueError as error:
        raise click.BadParameter("no es un patrón válido, como '*.log' o 'datos/**/*.csv'") from error


def _uuids_in(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """The uuids of a file, one a line; lines that are empty or begin with `#` do not count."""
    if text is None:
        return None
    try:
        content = sys.stdin.read() if text == "-" else Path(text).read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"no se puede leer {text}: {reason_of(error)}") from error
    except UnicodeError as error:
        raise click.BadParameter(f"{text} no es un texto en UTF-8") from error
    lines = (line.strip() for line in content.splitlines())
    uuids = tuple(line for line in lines if line and not line.startswith("#"))
    if not uuids:
        raise click.BadParameter(f"en {text} no hay ningún UUID")
    return uuids


UUID = click.Argument(["uuid"], metavar="UUID", callback=not_empty)
DESTINATION = click.Argument(["destination"], metavar="DESTINO", callback=directory_to_fill)
DIRECTORY = click.Option(["--to"], callback=directory_to_fill)


def _converted(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """What a parameter makes of a word. Raises `UsageError`, which names the parameter."""
    name = parameter.name or ""
    value, _ = parameter.handle_parse_result(context, {} if text is None else {name: text}, [])
    return value


@dataclass(frozen=True, slots=True)
class Order:
    """One command line of `restore`."""

    settings: Settings
    selection: Selection
    include: Include
    directory: Path | None
    """Where to; `None` for the place that each execution came from."""
    check_only: bool
    request_restore: bool


@click.command(cls=SpanishCommand, short_help="Trae de vuelta ejecuciones migradas.")
@click.argument("words", metavar="[UUID DESTINO | UUID...]", nargs=-1)
@click.option("--to", "directory", metavar="DIRECTORIO", type=click.Path(), help="Cada ejecución, en DIRECTORIO/UUID.")
@click.option("--in-place", is_flag=True, help="Cada una, en su ruta_directorio, dentro de JANITOR_ROOTS.")
@click.option(
    "--check-only",
    is_flag=True,
    help="Leer todo del proveedor y compararlo con el manifiesto; no se escribe nada.",
)
@click.option(
    "--from-file",
    metavar="ARCHIVO",
    type=click.Path(),
    callback=_uuids_in,
    help="Las de ARCHIVO, un UUID por línea; - es la entrada estándar.",
)
@click.option("--provider", metavar="ID|NOMBRE", callback=given, help="Las que están en este proveedor.")
@click.option("--since", metavar="FECHA", callback=_moment, help="Las de esta fecha_ejecucion en adelante; hora local.")
@click.option("--until", metavar="FECHA", callback=_moment, help="Las de hasta esta fecha_ejecucion, incluida.")
@click.option(
    "--include",
    metavar="PATRÓN",
    multiple=True,
    callback=_include,
    help="Solo lo que coincida: '*.log', 'datos/**/*.csv', o un directorio entero; se puede repetir.",
)
@click.option(
    "--request-restore",
    is_flag=True,
    help="Solo pedir al proveedor que saque del archivo (GLACIER, Archive) lo que haya en él; no se escribe nada.",
)
@transfers_option
@bandwidth_option
@click.pass_context
def restore(
    context: click.Context,
    words: tuple[str, ...],
    directory: str | None,
    from_file: tuple[str, ...] | None,
    provider: str | None,
    since: str | None,
    until: str | None,
    include: Include,
    transfers: Mapping[str, Any],
    bandwidth_limit: Mapping[str, Any],
    *,
    in_place: bool,
    check_only: bool,
    request_restore: bool,
) -> int:
    """Descarga ejecuciones migradas, las verifica y las reconstruye idénticas.

    Una: su UUID y DESTINO, un directorio vacío o nuevo. Varias: --to DIRECTORIO o --in-place, y sus UUID, o
    --from-file, o --provider, --since y --until. Si una falla, las demás siguen.

    Si quedó a medias, la misma orden sigue: lo que ya está y es igual se conserva.
    """
    settings = replace(context.obj, **transfers, **bandwidth_limit)
    uuids = tuple(dict.fromkeys((*words, *(from_file or ()))))
    selection = Selection(uuids, provider, since, until)
    ways = (directory is not None) + in_place + check_only
    if ways == 0 and from_file is None and not selection.is_of_provider_or_period:
        return _restore_one(context, settings, words, include, request_restore=request_restore)
    if ways > 1:
        raise click.UsageError("--to, --in-place y --check-only no se pueden usar juntas")
    if ways == 0 and not request_restore:
        raise click.UsageError("diga a dónde: --to DIRECTORIO o --in-place; o --check-only, para solo comprobar")
    if bool(selection.uuids) == selection.is_of_provider_or_period:
        raise click.UsageError("diga qué ejecuciones: sus UUID (o --from-file), o bien --provider, --since y --until")
    path = None if directory is None else _converted(context, DIRECTORY, directory)
    order = Order(settings, selection, include, path, check_only, request_restore)
    return _restore_many(order)


def _restore_one(
    context: click.Context, settings: Settings, words: Sequence[str], include: Include, *, request_restore: bool
) -> int:
    if len(words) > 2:
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(words[2:])})")
    uuid = _converted(context, UUID, words[0] if words else None)
    destination = _converted(context, DESTINATION, words[1] if len(words) > 1 else None)
    return _request_restore(settings, uuid) if request_restore else _restore(settings, uuid, destination, include)


def _request_restore(settings: Settings, uuid: str) -> int:
    interruption = threading.Event()
    with _database_of(settings) as database, stopping_on_signal(interruption):
        archived, objects = request_restore(database, uuid, settings.transfers, interruption)
    click.echo(one_line(_requested_line(uuid, archived, objects)))
    return EXIT_DONE


def _requested_line(uuid: str, archived: int, objects: int) -> str:
    if not archived:
        return f"Ejecución {uuid}: ninguno de sus {objects} objetos está archivado; se puede restaurar"
    done = f"están archivados {archived} de {objects} objetos y se ha pedido que se saquen; suele tardar horas: "
    return f"Ejecución {uuid}: {done}repita después la orden sin --request-restore"


def _restore(settings: Settings, uuid: str, destination: Path, include: Include) -> int:
    interruption = threading.Event()
    with _database_of(settings) as database, stopping_on_signal(interruption):
        restored = restore_execution(
            database, uuid, destination, settings.transfers, settings.bandwidth, interruption, include
        )
        line, is_whole = _restored(database, uuid, destination, restored)
    try:
        click.echo(one_line(line))
    except OSError as error:
        emit(
            logging.ERROR,
            "result_not_written",
            f"la ejecución {one_line(uuid)} está restaurada entera en {one_line(destination)}, pero "
            f"{output_failure(error)}",
            cause=error,
            execution=uuid,
        )
        return EXIT_SOMETHING_FAILED
    return EXIT_DONE if is_whole else EXIT_SOMETHING_FAILED


def _restored(database: Database, uuid: str, destination: Path, restored: Restored) -> tuple[str, bool]:
    """Every restored execution passes here once, for the audit trail. Return its line, and whether its modes and times
    are kept.
    """
    note_restored(database, uuid, destination)
    if restored.unkept:
        emit(
            logging.ERROR,
            "attributes_not_restored",
            f"El sistema de ficheros de {one_line(destination)} no conserva lo que tenía la ejecución "
            f"{one_line(uuid)}: {'; '.join(restored.unkept)}. Los bytes y los nombres están todos",
            execution=uuid,
        )
    tree = restored.tree
    were_there = counted(restored.kept_files, "ya estaba y se comprobó", "ya estaban y se comprobaron")
    kept = f"; {were_there}" if restored.kept_files else ""
    size = f"{files(len(tree.files))}, {counted(tree.size_bytes, 'byte', 'bytes')}"
    return f"Ejecución {uuid} restaurada en {destination}: {size}{kept}", not restored.unkept


# Several


def _restore_many(order: Order) -> int:
    interruption = threading.Event()
    settings = order.settings
    with _database_of(settings) as database, stopping_on_signal(interruption), _pool(settings, interruption) as pool:
        database.connect()
        database.require_current_schema()
        wanted = order.selection.wanted(database, settings)
        progress = SharedProgress()
        work, directory_of = _work(order, database, pool, interruption, progress.including)
        with showing(progress) as above:
            sums = for_each_execution(
                database,
                wanted,
                work,
                lambda line: above(partial(click.echo, one_line(line))),
                interruption,
                directory_of,
            )
    click.echo(_sums_line(sums, order))
    return EXIT_SOMETHING_FAILED if sums.failed or not sums.all_whole else EXIT_DONE


@contextlib.contextmanager
def _pool(settings: Settings, interruption: threading.Event) -> Iterator[TransferPool]:
    limit = settings.bandwidth
    pool = TransferPool(transfers_within(settings.transfers, limit), Traffic(limit, interruption))
    try:
        yield pool
    finally:
        pool.close()


def _work(
    order: Order, database: Database, pool: TransferPool, interruption: threading.Event, show: Show
) -> tuple[Work, Callable[[StoredExecution], str | None]]:
    """What is done with each execution, and the directory that this writes to."""
    if order.request_restore:
        return partial(_request_of, pool, interruption), _nowhere
    if order.check_only:
        return Checking(order.include, pool, interruption, show), _nowhere
    targets: Targets = (
        below_one_directory(order.directory) if order.directory else WhereTheyWere(order.settings.roots, database)
    )
    work = Restoring(targets, order.include, pool, interruption, partial(_restored, database), show)
    return work, targets.directory_of


def _nowhere(_row: StoredExecution) -> None:
    return None


def _request_of(
    pool: TransferPool, interruption: threading.Event, copy: StoredCopy, row: StoredExecution, heading: str
) -> Done:
    """See `Work`."""
    del heading
    archived, objects = request_from(copy, pool, interruption)
    return Done(objects, 0, _requested_line(row.uuid, archived, objects), was_there=not archived)


def _sums_line(sums: Sums, order: Order) -> str:
    done, were_there = executions(sums.done), sums.were_there
    if order.request_restore:
        what = f"Pedida la salida del archivo de {done}; otras {were_there} no la necesitan"
    elif order.check_only:
        what = f"Leído e igual al manifiesto: {done}, {files(sums.file_count)}, {in_units(sums.size_bytes)}"
    else:
        there = f"; {counted(were_there, 'ya estaba entera', 'ya estaban enteras')}" if were_there else ""
        what = f"Restaurado: {done}{there}; en total {files(sums.file_count)}, {in_units(sums.size_bytes)}"
    failed = f"; {counted(sums.failed, 'falló', 'fallaron')}, arriba dice por qué" if sums.failed else ""
    again = ": la misma orden sigue donde quedó" if failed and not order.check_only else ""
    return f"{what}{failed}{again}"


# Looking into a copy


@click.command("ls", cls=SpanishCommand, short_help="Dice qué hay en la copia de una ejecución.")
@click.argument("uuid", metavar="UUID", callback=not_empty)
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.pass_obj
def list_contents(settings: Settings, uuid: str, *, as_json: bool) -> int:
    """Dice qué ficheros, directorios y enlaces tiene la copia de una ejecución, según su manifiesto.

    De cada uno, permisos, tamaño, fecha, el comienzo de su SHA-256 y su ruta; con --json, todo entero.
    """
    interruption = threading.Event()
    with _database_of(settings) as database, stopping_on_signal(interruption), stored_copy(database, uuid) as copy:
        tree = entries_of(copy, interruption)
        if as_json:
            for piece in json_of_entries(copy, tree):
                click.echo(piece, nl=False)
            click.echo()
        else:
            for line in describe_entries(tree, settings.time_zone):
                click.echo(one_line(line))
    return EXIT_DONE


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    try:
        seconds = parse_duration(text)
    except AmountError as error:
        raise click.BadParameter(str(error).removesuffix(", u off")) from error
    if seconds is None:
        raise click.BadParameter("una dirección sin plazo no la da ningún proveedor")
    return int(seconds)


@click.command("url", cls=SpanishCommand, short_help="Da una dirección para leer un fichero de una copia.")
@click.argument("uuid", metavar="UUID", callback=not_empty)
@click.argument("path", metavar="RUTA", callback=not_empty)
@click.option("--expires", metavar="T", default="1h", callback=_seconds, help="Cuánto vale: 30m, 1h (por defecto), 7d.")
@click.pass_obj
def url(settings: Settings, uuid: str, path: str, expires: int) -> int:
    """Escribe una dirección firmada con la que cualquiera puede leer el fichero RUTA de la ejecución, sin credenciales,
    hasta que pase el plazo.

    En S3, MinIO, Azure y Google, con credenciales que puedan firmar. La dirección no queda en ningún registro.
    """
    interruption = threading.Event()
    with _database_of(settings) as database, stopping_on_signal(interruption), stored_copy(database, uuid) as copy:
        address = signed_url(copy, path, expires, interruption)
        note_url_signed(database, uuid, path, expires)
    click.echo(address)
    told = f"Dirección de {one_line(path)}, de la ejecución {one_line(uuid)}, firmada para {in_time(expires)}"
    emit(logging.INFO, "url_signed", told, execution=uuid, path=one_line(path), seconds=expires)
    return EXIT_DONE
