"""The orders of the job: thin, as the work is done by the modules beside this one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from config.errors import RunInterrupted
from config.exit_codes import EXIT_CONFIGURATION, EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line, printable_json
from config.options import SpanishGroup, directory_to_fill, not_empty
from config.settings import Settings
from config.text.columns import in_columns
from config.text.plurals import counted
from config.text.times import Clock
from jobs.backups.choice import Wish
from jobs.backups.errors import BackupInterrupted
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.listing import describe_backup, entry_of, lines_of, statistics, statistics_lines
from jobs.backups.offsite.commands import backup_rebuild, backup_send
from jobs.backups.records import FOLDER, Records, readable_size
from jobs.backups.result import Kind
from jobs.backups.settings import BackupSettings
from jobs.signals import LEFT_IN_ORDER, stopping_on_signal
from sql.database import Database, SchemaError, database_identity, require_database_uri

json_option = click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
id_argument = click.argument("backup_id", metavar="ID", type=int)
identity_option = click.option(
    "--identity",
    type=click.Path(path_type=Path),
    metavar="FICHERO",
    help="La clave privada de age, para lo que solo está cifrado en un proveedor; si no, BACKUP_IDENTITY_FILE.",
)


def _address(_context: click.Context, parameter: click.Parameter, text: str) -> str:
    """The address of a database, or `''` for an option that is not given."""
    if parameter.required:
        not_empty(_context, parameter, text)
    try:
        if text:
            require_database_uri(text, parameter.opts[0])
    except SchemaError as error:
        raise click.UsageError(str(error)) from error
    return text


@contextlib.contextmanager
def _records_of(settings: Settings) -> Iterator[Records]:
    """The rows, as a `with` needs them."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.connect()
        database.require_current_schema()
        yield Records(partial(database.job_query, FOLDER), settings.host)


@contextlib.contextmanager
def _stoppable(left: str = LEFT_IN_ORDER) -> Iterator[threading.Event]:
    """Set on a signal; work that ends because of it ends the program as signals do, and is left so."""
    interruption = threading.Event()
    with stopping_on_signal(interruption, left=left):
        try:
            yield interruption
        except BackupInterrupted as error:
            raise RunInterrupted(str(error)) from error


def _key_file(settings: Settings, identity: Path | None) -> Path | None:
    """The file with private keys that the command line names, or else the settings."""
    return identity or settings.of(BackupSettings).identity


def _shelf(records: Records, settings: Settings) -> Shelf:
    return Shelf(tuple(records.all()), settings.host)


def _clock(settings: Settings) -> Clock:
    return Clock.of_this_host(settings.time_zone)


def _show(value: object, lines: list[str], *, as_json: bool) -> int:
    click.echo(printable_json(value, indent=2) if as_json else in_columns(map(one_line, lines)))
    return EXIT_DONE


@click.group(
    "backup", cls=SpanishGroup, invoke_without_command=True, short_help="Copias de seguridad de la base de datos."
)
@click.pass_context
def backup(context: click.Context) -> int:
    """Hace, enseña, comprueba y restaura las copias de seguridad de la base de datos."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return EXIT_CONFIGURATION
    return EXIT_DONE


backup.add_command(backup_rebuild)
backup.add_command(backup_send)


@backup.command("run", short_help="Hace una copia ahora.")
@click.option("--full", is_flag=True, help="Completa, toque la que toque.")
@click.option("--diff", is_flag=True, help="Diferencial; si no puede ser exacta, completa.")
@click.pass_context
def backup_run(context: click.Context, *, full: bool, diff: bool) -> Any:
    """Hace ahora la copia que toca, o la que se diga, y borra después las antiguas."""
    if full and diff:
        raise click.UsageError("--full y --diff no se pueden usar juntas")
    kind = Kind.FULL if full else Kind.DIFFERENTIAL if diff else None
    root = context.find_root()
    assert isinstance(root.command, click.Group)  # noqa: S101 for the type checker
    run_job = root.command.get_command(root, "run")
    assert run_job is not None  # noqa: S101 for the type checker
    return context.invoke(run_job, job="backup", dry_run=False, wish=Wish(kind))


@backup.command("list", short_help="Dice qué copias hay.")
@json_option
@click.pass_obj
def backup_list(settings: Settings, *, as_json: bool) -> int:
    """Dice qué copias hay, dónde, y cuándo se comprobaron; también las que fallaron y las que se borraron."""
    with _records_of(settings) as records:
        backups = records.all()
    entries = [entry_of(item, settings.host) for item in backups]
    lines = [describe_backup(entry, _clock(settings)) for entry in entries] or ["No hay ninguna copia de seguridad"]
    return _show(entries, lines, as_json=as_json)


@backup.command("show", short_help="Enseña una copia.")
@id_argument
@json_option
@click.pass_obj
def backup_show(settings: Settings, *, backup_id: int, as_json: bool) -> int:
    """Enseña todo lo que se sabe de la copia ID."""
    with _records_of(settings) as records:
        found = _shelf(records, settings).named(backup_id)
    entry = entry_of(found, settings.host)
    return _show(entry, lines_of(entry, _clock(settings)), as_json=as_json)


@backup.command("stats", short_help="Cuántas copias hay y cuánto ocupan.")
@json_option
@click.pass_obj
def backup_stats(settings: Settings, *, as_json: bool) -> int:
    """Dice cuántas copias buenas hay, cuánto ocupan y cuáles son las últimas."""
    with _records_of(settings) as records:
        found = statistics(records.all(), settings.of(BackupSettings).retention_days)
    return _show(found, statistics_lines(found, _clock(settings)), as_json=as_json)


@backup.command("clean", short_help="Borra las copias antiguas.")
@click.option("--dry-run", is_flag=True, help="Decir cuáles se borrarían, sin borrar ninguna.")
@click.pass_obj
def backup_clean(settings: Settings, *, dry_run: bool) -> int:
    """Borra las copias de este equipo que pasan de BACKUP_RETENTION_DAYS.

    Nunca la última cadena buena, ni una completa de la que depende una diferencial, ni la última comprobada.
    """
    from jobs.backups.keeping.disposal import clean
    from jobs.backups.offsite.delivery import delivery_of_command
    from jobs.backups.offsite.opening import opened
    from jobs.locks import job_lock

    own = settings.of(BackupSettings)
    with _stoppable() as interruption, contextlib.ExitStack() as stack:
        if not dry_run:  # before the rows are read: another run may be changing them
            identity = database_identity(settings.database_url)
            stack.enter_context(job_lock(settings.lock_directory, settings.host, identity, "backup"))
        vault = stack.enter_context(opened(settings, interruption))
        delivery = delivery_of_command(own, vault.stores, vault.copies)
        delivery.look(vault.shelf)
        shelf = replace(vault.shelf, elsewhere=delivery.places(), asked=delivery.asked())
        gone = clean(shelf, vault.records, own.retention_days, interruption, delivery.remove, dry_run=dry_run)
    for item in gone:
        click.echo(one_line(f"{'Se borraría' if dry_run else 'Borrada'} la copia {item.id}: {item.name}"))
    size = readable_size(sum(item.size_bytes or 0 for item in gone))
    what = f"{'Se borrarían' if dry_run else 'Borradas'}: {counted(len(gone), 'copia', 'copias')}, {size}"
    click.echo(f"{what} (de más de {counted(own.retention_days, 'día', 'días')}, y que no hacen falta)")
    return EXIT_SOMETHING_FAILED if delivery.failures else EXIT_DONE


@backup.command("verify", short_help="Comprueba una copia restaurándola.")
@click.argument("backup_id", metavar="[ID]", type=int, required=False)
@click.option(
    "--server",
    "server_url",
    metavar="URL",
    default="",
    callback=_address,
    help="Probar en este servidor, en una base pasajera.",
)
@identity_option
@click.pass_obj
def backup_verify(settings: Settings, *, backup_id: int | None, server_url: str, identity: Path | None) -> int:
    """Restaura la copia ID, o la última, en un servidor propio y pasajero, y compara cada tabla con lo copiado.

    Con --server, en una base de datos nueva de ese servidor, con un nombre al azar, que se borra al terminar; el
    usuario necesita CREATEDB y, si faltan allí papeles (roles) de la copia, CREATEROLE.
    """
    from jobs.backups.offsite.fetching import fetched
    from jobs.backups.offsite.opening import opened
    from jobs.backups.verification.using import verify

    programs = settings.of(BackupSettings).programs
    with _stoppable() as interruption, opened(settings, interruption, _key_file(settings, identity)) as vault:
        newest = vault.shelf.newest
        found = newest(vault.fetcher.fetchable) if backup_id is None else vault.shelf.named(backup_id)
        with fetched(vault.shelf, found, vault.fetcher, vault.records) as shelf:
            proof = verify(shelf.named(found.id), shelf, vault.records, programs, interruption, server_url)
    what = f"{counted(proof.tables, 'tabla', 'tablas')}, {counted(proof.rows, 'registro', 'registros')}"
    click.echo(one_line(f"Copia {found.id} comprobada: {found.name}, {what}, en {proof.seconds:.1f} s"))
    return EXIT_DONE


@backup.command("download", short_help="Deja una copia en un directorio.")
@id_argument
@click.argument("directory", metavar="DIRECTORIO", callback=directory_to_fill)
@identity_option
@click.pass_obj
def backup_download(settings: Settings, *, backup_id: int, directory: Path, identity: Path | None) -> int:
    """Deja en DIRECTORIO la copia ID, y con una diferencial su completa; comprueba el hash de cada archivo.

    Lo que no está en el disco, o está dañado allí, se trae de un proveedor.
    """
    from jobs.backups.offsite.fetching import download_chain
    from jobs.backups.offsite.opening import opened
    from jobs.backups.verification.using import download

    with _stoppable() as interruption, opened(settings, interruption, _key_file(settings, identity)) as vault:
        found = vault.shelf.named(backup_id)
        there = set(directory.glob("*"))
        written = download_chain(
            vault.shelf,
            found,
            vault.fetcher,
            vault.records,
            directory,
            lambda part: download([part], directory, interruption),
        )
    for path in written:
        click.echo(one_line(path))
    if equal := there.intersection(written):
        what = counted(len(equal), "fichero ya estaba", "ficheros ya estaban")
        click.echo(f"{what} allí, y es igual" if len(equal) == 1 else f"{what} allí, y son iguales", err=True)
    return EXIT_DONE


@backup.command("restore", short_help="Restaura una copia en otra base de datos.")
@id_argument
@click.option("--to", "database_url", metavar="URL", required=True, callback=_address, help="La base de datos vacía.")
@click.option(
    "--force", is_flag=True, help="También si no está vacía; no reemplaza nada: lo que se llame igual lo impide."
)
@identity_option
@click.pass_obj
def backup_restore(settings: Settings, *, backup_id: int, database_url: str, force: bool, identity: Path | None) -> int:
    """Restaura la copia ID en la base de datos URL, que ha de existir y estar vacía.

    Todo en una transacción: si falla, la base de datos queda como estaba; si se interrumpe, así o con la copia entera.
    Una contraseña en URL la ven otros usuarios del equipo (ps): mejor en PGPASSWORD o en ~/.pgpass.
    """
    from jobs.backups.offsite.fetching import fetched
    from jobs.backups.offsite.opening import opened
    from jobs.backups.verification.using import ALL_OR_NOTHING, require_empty, restore_chain

    with (
        _stoppable(ALL_OR_NOTHING) as interruption,
        opened(settings, interruption, _key_file(settings, identity)) as vault,
    ):
        found = vault.shelf.named(backup_id)
        if not force:
            require_empty(database_url)
        with fetched(vault.shelf, found, vault.fetcher, vault.records) as shelf:
            chain = shelf.chain(shelf.named(backup_id))
            restore_chain(chain, database_url, settings.of(BackupSettings).programs, interruption)
    names = " y ".join(item.name for item in chain)
    click.echo(one_line(f"Copia {backup_id} restaurada: {names}"))
    return EXIT_DONE
