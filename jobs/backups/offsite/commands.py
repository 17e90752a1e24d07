"""The orders about copies at providers and by mail; thin, as the work is done by the modules beside this one."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

import click

from config.errors import ConfigurationError
from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line
from config.mailbox import Mailbox
from config.options import not_empty
from config.settings import Settings
from config.text.parsers import reference
from config.text.plurals import counted
from jobs.backups.settings import BackupSettings
from jobs.signals import stopping_on_signal

if TYPE_CHECKING:
    from jobs.backups.offsite.rebuilding import Rebuilt
    from jobs.backups.offsite.stores import Stores

MAIL_ADDRESS = re.compile(r"(?!=\?)[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*@[\w-]+(\.[\w-]+)*")
"""Without quotes, comments and encoded words, which a header means otherwise than they are written."""

LONGEST_MAIL_ADDRESS = 254


def _mail_address(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if len(text) > LONGEST_MAIL_ADDRESS or not MAIL_ADDRESS.fullmatch(text):
        raise click.BadParameter("no es una dirección de correo")
    return text


OTHER_PREFIX = (
    "; si la instalación que las guardó tenía otro prefijo_ruta_nube (el primer directorio allí, como produccion), "
    "dígalo con --prefix"
)

NOT_DESCRIBED = "; allí falta su .json: se restaura, pero no se puede comprobar ni es base de diferenciales"


@click.command("rebuild", short_help="Apunta las copias que hay en un proveedor.")
@click.option("--provider", metavar="ID", required=True, callback=not_empty, help="Id o nombre en cloud_providers.")
@click.option("--prefix", metavar="PREFIJO", help="El de la instalación que las guardó, si aquí es otro.")
@click.option("--dry-run", is_flag=True, help="Decir qué copias hay, sin apuntar ninguna.")
@click.pass_obj
def backup_rebuild(settings: Settings, *, provider: str, prefix: str | None, dry_run: bool) -> int:
    """Apunta en la base de datos las copias que hay en un proveedor y que no conoce, para traerlas o restaurarlas.

    Para una máquina nueva, que solo tiene la fila del proveedor; y para después de perder la base de datos.
    """
    from jobs.backups.offsite.opening import opened
    from jobs.backups.offsite.rebuilding import found_copies, rebuild
    from jobs.backups.run import current_user
    from jobs.locks import job_lock
    from sql.database import database_identity

    interruption = threading.Event()
    directory = settings.backup_directory.absolute()
    cleaned = None if prefix is None else prefix.strip("/")
    with contextlib.ExitStack() as stack:
        stack.enter_context(stopping_on_signal(interruption))
        vault = stack.enter_context(opened(settings, interruption, prefix=cleaned))
        number = _known(vault.stores, provider)
        copies, unread = found_copies(vault.stores, number, directory, settings.time_zone)
        if dry_run:
            for copy in copies:
                made = f"{copy.backup.made.astimezone():%Y-%m-%d %H:%M}"
                click.echo(one_line(f"Hay {copy.spot.key}, {copy.backup.kind}, del {made}"))
        else:
            identity = database_identity(settings.database_url)
            stack.enter_context(job_lock(settings.lock_directory, settings.host, identity, "backup"))
            store = vault.stores.open(number).store
            for done in rebuild(copies, number, store, vault.records, vault.copies, current_user()):
                click.echo(one_line(_rebuilt_line(done)))
    where = f"{vault.stores.name_of(number)}, por debajo de {vault.stores.prefix or 'su raíz'}"
    found = counted(len(copies), "copia entera", "copias enteras")
    click.echo(one_line(f"{found} en {where}{'' if copies or unread else OTHER_PREFIX}"))
    for told in unread:
        click.echo(one_line(f"No se puede leer {told}"), err=True)
    return EXIT_SOMETHING_FAILED if unread else EXIT_DONE


def _known(stores: Stores, provider: str) -> int:
    """The id of a provider. One that has no row is a mistake in what the operator wrote: `ConfigurationError`."""
    from jobs.backups.offsite.stores import StoreUnknown

    try:
        return stores.id_of(reference(provider))
    except StoreUnknown as error:
        raise ConfigurationError(str(error)) from error


def _rebuilt_line(done: Rebuilt) -> str:
    key, row = done.copy.spot.key, done.row
    if row.is_another:
        return f"{key}: no se apunta; la base de datos conoce otra con este nombre y otro hash (¿otra instalación?)"
    if row.backup_id is None:
        return f"{key}: la base de datos dice que se borró; no se apunta"
    lacking = (
        f"; falta su completa{f' {done.copy.base_name}' if done.copy.base_name else ''}" if done.lacks_base else ""
    )
    advice = ": use 'backup rebuild' en el proveedor que la tenga y después otra vez en este" if done.lacks_base else ""
    bare = NOT_DESCRIBED if done.copy.lacks_description else ""
    return f"Copia {row.backup_id}: {key}, {'apuntada' if row.is_new else 'ya se conocía'}{lacking}{advice}{bare}"


@click.command("send", short_help="Envía una copia por correo.")
@click.argument("backup_id", metavar="ID", type=int)
@click.option("--to", "recipient", metavar="DIRECCIÓN", required=True, callback=_mail_address, help="A quién.")
@click.pass_obj
def backup_send(settings: Settings, *, backup_id: int, recipient: str) -> int:
    """Envía la copia ID por el correo de JANITOR_NOTIFY_URLS; si pasa de BACKUP_MAIL_MAX_MB, solo dónde está.

    Con BACKUP_RECIPIENTS va cifrada.
    """
    from jobs.backups.offsite import mail
    from jobs.backups.offsite.encryption import require_recipients
    from jobs.backups.offsite.opening import opened
    from jobs.backups.offsite.sending import parcel_of

    own = settings.of(BackupSettings)
    require_recipients(own.recipients)
    mailbox = Mailbox.of(_notice_addresses(settings))
    interruption = threading.Event()
    with stopping_on_signal(interruption), opened(settings, interruption) as vault:
        shelf = vault.shelf
        (*_, found) = shelf.chain(shelf.named(backup_id), vault.fetcher.fetchable)
        base_name, places = shelf.base_name(found), vault.places_of(found)
        size_bytes, largest_bytes = found.size_bytes or 0, own.largest_mail_bytes
        if not shelf.is_here(found):
            message = mail.message_without(found, base_name, mailbox, recipient, places)
        elif size_bytes > largest_bytes:  # encryption makes nothing smaller, and takes as much room again
            why = mail.why_too_large(size_bytes, largest_bytes)
            message = mail.message_without(found, base_name, mailbox, recipient, places, why)
        else:
            with parcel_of(found, base_name, own.recipients, interruption) as parcel:
                message = mail.message_of(parcel, mailbox, recipient, places, largest_bytes)
    mail.send(mailbox, message)
    how = "adjunta" if message.is_multipart() else "sin adjuntar: el correo dice dónde está"
    click.echo(one_line(f"Copia {found.id} enviada a {recipient}: {found.name}, {how}"))
    return EXIT_DONE


def _notice_addresses(settings: Settings) -> Any:
    """The addresses to which notices go: settings of another job, which is known by its name alone."""
    from jobs.registry import job_named

    kind = job_named("notify").settings_class
    assert kind is not None  # noqa: S101 for the type checker
    return settings.of(kind).urls
