"""Commands that need no module of their own: thin, because the work is done by other modules."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import click

from commands.check import check_everything
from commands.jobs import describe_jobs, list_jobs
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
from config.exit_codes import EXIT_CONFIGURATION, EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line, printable_json
from config.options import SpanishCommand, SpanishGroup
from config.settings import Settings
from config.text.columns import in_columns
from config.text.times import Clock
from sql.database import Database


def _database_of(settings: Settings) -> contextlib.closing[Database]:
    """The database in the settings, closed at the end of a `with`."""
    return contextlib.closing(Database(settings.database_url, settings.host))


@click.command("init-db", cls=SpanishCommand, short_help="Crea y actualiza las tablas.")
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


@click.command(cls=SpanishCommand, short_help="Comprueba base de datos y proveedores.")
@click.pass_obj
def check(settings: Settings) -> int:
    """Comprueba la base de datos, la configuración y cada proveedor, con un objeto de prueba."""
    exit_code = EXIT_DONE
    with _database_of(settings) as database:
        for finding in check_everything(database, settings):
            click.echo(in_columns([one_line(f"{finding.mark}  {finding.subject}: {finding.text}")]))
            if not finding.in_order:
                exit_code = max(exit_code, EXIT_CONFIGURATION if finding.stops_everything else EXIT_SOMETHING_FAILED)
    return exit_code


@click.command(cls=SpanishCommand, short_help="Dice qué trabajos hay y cuándo toca cada uno.")
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.pass_obj
def jobs(settings: Settings, *, as_json: bool) -> int:
    """Dice qué trabajos hay, cuáles están activados, cómo acabó cada uno la última vez y cuándo le toca."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        entries = list_jobs(database, settings)
    if as_json:
        click.echo(printable_json(entries, indent=2))
    else:
        click.echo(in_columns(describe_jobs(entries, Clock.of_this_host(settings.time_zone))))
    return EXIT_DONE


@click.command(cls=SpanishCommand, short_help="Enseña el programa en marcha.")
@click.option("--keep", is_flag=True, help="Dejar la base de datos en marcha al terminar, para probar a mano.")
@click.option("--directory", type=click.Path(path_type=Path), default=Path("demo-data"), metavar="DIRECTORIO",
              help="Dónde guardar los datos de la demostración (por defecto, ./demo-data).")  # fmt: skip
def demo(*, keep: bool, directory: Path) -> int:
    """Enseña el programa en marcha, con una base de datos y un servidor S3 propios, sin tocar nada más."""
    from demo.story import run_demo  # its packages are those of the demonstration alone

    return run_demo(directory, keep=keep)


@click.group(
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
