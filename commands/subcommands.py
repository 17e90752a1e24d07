"""Every command except the tick: thin, because the work is done by other modules.

A tick of cron needs none of them, so they are imported only on request.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from commands.audit.commands import audit
from commands.check import check_everything
from commands.history.command import history
from commands.jobs import describe_jobs, list_jobs
from commands.orders.commands import ORDERS
from commands.orders.trail import note_restored
from commands.secret_store import (
    SecretRefused,
    force_removal,
    list_secrets,
    new_key,
    read_secret,
    remove_secret,
    rotate_secrets,
    set_secret,
)
from commands.status import FAILURES_SHOWN, describe_status
from config.exit_codes import EXIT_CONFIGURATION, EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import emit, one_line, printable_json
from config.models import MigrationPolicy
from config.options import SpanishGroup, bandwidth_option, directory_to_fill, not_empty, transfers_option
from config.settings import Settings
from config.text.plurals import counted, files
from config.text.wording import output_failure
from jobs.migration.restore.run import Restored, restore_execution
from jobs.signals import stopping_on_signal
from sql.database import Database

commands = SpanishGroup()
"""All of them, by name."""

for order in (*ORDERS, history, audit):
    commands.add_command(order)


def _database_of(settings: Settings) -> contextlib.closing[Database]:
    """The database in the settings, closed at the end of a `with`."""
    return contextlib.closing(Database(settings.database_url, settings.host))


@commands.command("init-db", short_help="Crea y actualiza las tablas.")
@click.pass_obj
def init_db(settings: Settings) -> int:
    """Crea y actualiza las tablas del programa, y las de la plataforma que falten. Se puede repetir."""
    with _database_of(settings) as database:
        database.connect()
        applied = database.initialize()
    for name in applied:
        click.echo(f"Aplicada la actualización {name}")
    click.echo("La base de datos está al día")
    return EXIT_DONE


@commands.command(short_help="Comprueba base de datos y proveedores.")
@click.pass_obj
def check(settings: Settings) -> int:
    """Comprueba la base de datos, la configuración y cada proveedor, con un objeto de prueba."""
    exit_code = EXIT_DONE
    with _database_of(settings) as database:
        for finding in check_everything(database, settings):
            click.echo(one_line(f"{finding.mark}  {finding.subject}: {finding.text}"))
            if not finding.in_order:
                exit_code = max(exit_code, EXIT_CONFIGURATION if finding.stops_everything else EXIT_SOMETHING_FAILED)
    return exit_code


@commands.command(short_help="Dice qué hay pendiente, migrado y con error.")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.pass_obj
def status(settings: Settings, *, as_json: bool) -> int:
    """Dice cuántas ejecuciones hay pendientes, migradas y con error, y en qué proveedor están."""
    with _database_of(settings) as database:
        database.connect()
        database.require_current_schema()
        policy = database.load_policy() or MigrationPolicy()
        summary = database.summarize(policy.retention_hours, FAILURES_SHOWN)
    lines = "\n".join(map(one_line, describe_status(summary)))
    click.echo(printable_json(summary, indent=2) if as_json else lines)
    return EXIT_DONE


@commands.command(short_help="Dice qué trabajos hay y cuándo toca cada uno.")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.pass_obj
def jobs(settings: Settings, *, as_json: bool) -> int:
    """Dice qué trabajos hay, cuáles están activados, cómo acabó cada uno la última vez y cuándo le toca."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        entries = list_jobs(database, settings)
    click.echo(printable_json(entries, indent=2) if as_json else "\n".join(map(one_line, describe_jobs(entries))))
    return EXIT_DONE


@commands.command(short_help="Trae de vuelta una ejecución migrada.")
@click.argument("uuid", metavar="UUID", callback=not_empty)
@click.argument("destination", metavar="DESTINO", callback=directory_to_fill)
@click.option(
    "--request-restore",
    is_flag=True,
    help="Solo pedir al proveedor que saque del archivo (GLACIER, Archive) lo que haya en él; no se escribe nada.",
)
@transfers_option
@bandwidth_option
@click.pass_obj
def restore(
    settings: Settings,
    uuid: str,
    destination: Path,
    transfers: Mapping[str, Any],
    bandwidth_limit: Mapping[str, Any],
    *,
    request_restore: bool,
) -> int:
    """Descarga una ejecución migrada, la verifica y la reconstruye idéntica en DESTINO, un directorio vacío.

    Si quedó a medias, la misma orden sigue: lo que ya está y es igual se conserva.
    """
    settings = replace(settings, **transfers, **bandwidth_limit)
    return _request_restore(settings, uuid) if request_restore else _restore(settings, uuid, destination)


def _request_restore(settings: Settings, uuid: str) -> int:
    from jobs.migration.restore.archived import request_restore

    interruption = threading.Event()
    with (
        _database_of(settings) as database,
        stopping_on_signal(interruption),
    ):
        archived, objects = request_restore(database, uuid, settings.transfers, interruption)
    if archived:
        done = f"están archivados {archived} de {objects} objetos y se ha pedido que se saquen; suele tardar horas: "
        click.echo(one_line(f"Ejecución {uuid}: {done}repita después la orden sin --request-restore"))
    else:
        click.echo(one_line(f"Ejecución {uuid}: ninguno de sus {objects} objetos está archivado; se puede restaurar"))
    return EXIT_DONE


def _restore(settings: Settings, uuid: str, destination: Path) -> int:
    interruption = threading.Event()
    with (
        _database_of(settings) as database,
        stopping_on_signal(interruption),
    ):
        restored = restore_execution(database, uuid, destination, settings.transfers, settings.bandwidth, interruption)
        note_restored(database, uuid, destination)
    if restored.unkept:
        emit(
            logging.ERROR,
            "attributes_not_restored",
            f"El sistema de ficheros de {destination} no conserva lo que tenía la ejecución {one_line(uuid)}: "
            f"{'; '.join(restored.unkept)}. Los bytes y los nombres están todos",
            execution=uuid,
        )
    try:
        click.echo(one_line(_restored_line(uuid, destination, restored)))
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
    return EXIT_SOMETHING_FAILED if restored.unkept else EXIT_DONE


def _restored_line(uuid: str, destination: Path, restored: Restored) -> str:
    tree = restored.tree
    were_there = counted(restored.kept_files, "ya estaba y se comprobó", "ya estaban y se comprobaron")
    kept = f"; {were_there}" if restored.kept_files else ""
    size = f"{files(len(tree.files))}, {counted(tree.size_bytes, 'byte', 'bytes')}"
    return f"Ejecución {uuid} restaurada en {destination}: {size}{kept}"


@commands.command(short_help="Enseña el programa en marcha.")
@click.option("--keep", is_flag=True, help="Dejar la base de datos en marcha al terminar, para probar a mano.")
@click.option("--directory", type=click.Path(path_type=Path), default=Path("demo-data"), metavar="DIRECTORIO",
              help="Dónde guardar los datos de la demostración (por defecto, ./demo-data).")  # fmt: skip
def demo(*, keep: bool, directory: Path) -> int:
    """Enseña el programa en marcha, con una base de datos y un servidor S3 propios, sin tocar nada más."""
    from demo.story import run_demo  # its packages are those of the demonstration alone

    return run_demo(directory, keep=keep)


@commands.group(
    "secret",
    cls=SpanishGroup,
    invoke_without_command=True,
    short_help="Guarda cifrados los secretos.",
)
@click.pass_context
def secret(context: click.Context) -> int:
    """Guarda cifrados, en secretos_nube, los secretos de los proveedores.

    En credenciales se escribe {"secreto": "NOMBRE"} en lugar del valor. Las claves que los cifran están en
    JANITOR_SECRET_KEYS y en ningún otro sitio: quien las pierde, pierde los secretos.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return EXIT_CONFIGURATION
    return EXIT_DONE


@secret.command("new-key", short_help="Escribe una clave nueva.")
def secret_new_key() -> int:
    """Escribe una clave nueva; no la guarda en ningún sitio."""
    click.echo(new_key())
    click.echo("Póngala la primera de JANITOR_SECRET_KEYS (en .env, por ejemplo) en todas las máquinas.", err=True)
    return EXIT_DONE


@secret.command("set", short_help="Cifra un secreto y lo guarda.")
@click.argument("name", metavar="NOMBRE")
@click.pass_obj
def secret_set(settings: Settings, *, name: str) -> int:
    """Cifra un secreto y lo guarda como NOMBRE, en lugar del que hubiera.

    En un terminal lo pide dos veces, sin mostrarlo. Si no, lee toda la entrada estándar, tal cual salvo un fin de
    línea al final: así se guarda una clave privada o un JSON de varias líneas:

    \b
      janitor-daemon secret set clave-sftp < id_ed25519
    """
    with _database_of(settings) as database:
        replaced = set_secret(database, name, _given_secret)
    click.echo(f"Secreto {one_line(name)} {'reemplazado' if replaced else 'guardado'}")
    return EXIT_DONE


def _given_secret() -> str:
    """Read the secret: twice and hidden at a terminal, otherwise all of the standard input."""
    if sys.stdin is None or not sys.stdin.isatty():
        return read_secret(sys.stdin.buffer if sys.stdin else io.BytesIO())
    first, again = (
        click.prompt(text, hide_input=True, default="", show_default=False, err=True) for text in ("Valor", "Otra vez")
    )
    if first != again:
        raise SecretRefused("los dos valores no son iguales; no se guardó nada")
    return str(first)


@secret.command("list", short_help="Dice qué secretos hay y quién los usa.")
@click.pass_obj
def secret_list(settings: Settings) -> int:
    """Dice qué secretos hay, con qué clave está cifrado cada uno y qué proveedores lo usan; nunca su valor."""
    with _database_of(settings) as database:
        for listing in list_secrets(database):
            click.echo(str(listing))
    return EXIT_DONE


@secret.command("rotate", short_help="Cifra todos de nuevo con la primera clave.")
@click.pass_obj
def secret_rotate(settings: Settings) -> int:
    """Cifra de nuevo todos los secretos con la primera clave de JANITOR_SECRET_KEYS, todos o ninguno.

    Después se pueden quitar de ahí las claves anteriores, en todas las máquinas.
    """
    with _database_of(settings) as database:
        count = rotate_secrets(database)
    click.echo(f"Cifrados de nuevo con la primera clave: {count}; las demás claves ya no hacen falta")
    return EXIT_DONE


@secret.command("remove", short_help="Borra un secreto.")
@click.argument("name", metavar="NOMBRE")
@click.option("--force", is_flag=True, help="También si lo usa un proveedor activo.")
@click.pass_obj
def secret_remove(settings: Settings, *, name: str, force: bool) -> int:
    """Borra el secreto NOMBRE, si no lo usa ningún proveedor activo."""
    remove = force_removal if force else remove_secret
    with _database_of(settings) as database:
        remove(database, name)
    click.echo(f"Secreto {one_line(name)} borrado")
    return EXIT_DONE
