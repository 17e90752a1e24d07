"""Sends a backup by mail, or says by mail where it is: through the server that operators' notices go through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from email.message import EmailMessage

from config import mailbox as mail
from config.mailbox import Mailbox, envelope
from jobs.backups.errors import BackupError, DamagedBackup
from jobs.backups.files.directory import reading_errors
from jobs.backups.offsite.sending import Parcel
from jobs.backups.records import Backup, readable_size


class MailNotSent(BackupError):
    """The mail server did not take a message."""


def message_of(
    parcel: Parcel, mailbox: Mailbox, recipient: str, places: Sequence[str], largest_bytes: int
) -> EmailMessage:
    """The message: with the backup if that is not larger than `largest_bytes`, else with where it is.

    Raises `DamagedBackup`, `DiskError`.
    """
    message = _envelope(parcel.backup, mailbox, recipient)
    name = parcel.backup.name + (".age" if parcel.is_encrypted else "")
    is_attached = parcel.size_bytes <= largest_bytes
    if is_attached:
        where = [f"Va adjunta: {name}, {readable_size(parcel.size_bytes)}, SHA-256 {parcel.sha256}"]
    else:
        why = why_too_large(parcel.size_bytes, largest_bytes)
        where = [f"No va adjunta, porque {why}.", *_where(parcel.backup, places, parcel.plain_sha256)]
    message.set_content("\n".join([*_about(parcel.backup, parcel.base_name), *where]) + "\n")
    if is_attached:
        content = _content_of(parcel)
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message


def _content_of(parcel: Parcel) -> bytes:
    """The attachment. It has the hash that the message gives."""
    with reading_errors(parcel.path.parent):
        content = parcel.path.read_bytes()
    if hashlib.sha256(content).hexdigest() != parcel.sha256:
        backup_id = parcel.backup.id
        advice = f"si un proveedor tiene otra, tráigala con 'backup download {backup_id} DIRECTORIO'"
        raise DamagedBackup(
            f"la copia {backup_id} ({parcel.backup.name}) está dañada en el disco: no se envía; {advice}"
        )
    return content


NOT_HERE = "no está en el disco de este equipo"


def why_too_large(size_bytes: int, largest_bytes: int) -> str:
    """Why a backup is not attached, for operators."""
    return f"ocupa {readable_size(size_bytes)}, más que {readable_size(largest_bytes)} (BACKUP_MAIL_MAX_MB)"


def message_without(
    backup: Backup, base_name: str | None, mailbox: Mailbox, recipient: str, places: Sequence[str], why: str = NOT_HERE
) -> EmailMessage:
    """The message about a backup that is not attached; `why` says that in Spanish."""
    message = _envelope(backup, mailbox, recipient)
    where = [f"No va adjunta, porque {why}.", *_where(backup, places, backup.sha256)]
    message.set_content("\n".join([*_about(backup, base_name), *where]) + "\n")
    return message


def send(mailbox: Mailbox, message: EmailMessage) -> None:
    """Send a message. Raises `MailNotSent`, without secrets."""
    try:
        mail.send(mailbox, message)
    except mail.MailNotSent as error:
        advice = "; es demasiado grande para ese servidor: baje BACKUP_MAIL_MAX_MB" if error.is_too_large else ""
        raise MailNotSent(f"{error}{advice}") from error


def _envelope(backup: Backup, mailbox: Mailbox, recipient: str) -> EmailMessage:
    return envelope(mailbox, [recipient], f"Copia de seguridad {backup.kind} {backup.name}")


def _about(backup: Backup, base_name: str | None) -> Iterator[str]:
    yield f"Copia de seguridad {backup.id}, {backup.kind}, del {backup.made.astimezone():%Y-%m-%d %H:%M}: {backup.name}"
    if base_name is not None:
        yield f"Para restaurarla hace falta también su completa: {base_name}"


def _where(backup: Backup, places: Sequence[str], sha256: str | None) -> Iterator[str]:
    for place in places:
        yield f"Está en {place}"
    if sha256:
        yield f"SHA-256 {sha256}  {backup.name}"
    yield f"Para tenerla: janitor-daemon backup download {backup.id} DIRECTORIO"
