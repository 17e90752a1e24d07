"""What `check` says of copies at providers: whether the keys and the names in the settings can be used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from config.errors import ConfigurationError, MigrationError
from config.text.plurals import counted
from jobs.backups.errors import DiskError
from jobs.backups.files.names import SUFFIX
from jobs.backups.offsite.copies import Copies, backups_prefix, spot_of
from jobs.backups.offsite.encryption import identities_of, require_recipients
from jobs.backups.offsite.sending import Sender
from jobs.backups.offsite.stores import Stores, StoreUnusable, rows_in
from jobs.backups.settings import BackupSettings
from jobs.context import Context
from jobs.findings import Finding, bad, good, unusable
from providers.errors import UnsafeDestination

SUBJECT = "copias de seguridad en proveedores"


def check(context: Context) -> Iterator[Finding]:
    """Look at the keys, and list what each provider has. Raises `DatabaseError`."""
    settings: BackupSettings = context.own_settings
    try:
        require_recipients(settings.recipients)
    except ConfigurationError as error:
        yield unusable(SUBJECT, str(error))
    try:
        identities_of(settings.identity)
    except ConfigurationError as error:
        yield unusable(SUBJECT, str(error))
    if not settings.providers:
        return
    recorded = {copy.provider_id for copy in Copies(context.query).all() if copy.stored}
    with closing(Stores(partial(rows_in, context.database), threading.Event())) as stores:
        seen: set[int] = set()
        for reference in dict.fromkeys(settings.providers):
            try:
                number = stores.id_of(reference)
                if number in seen:  # named once by its id, and once by its name
                    continue
                seen.add(number)
                files = [key for key in stores.listed(number) if key.endswith(".sha256")]
                if not files and number in recorded:
                    stores.require_mounted(number)
                if is_backup_directory(stores, number, context.settings.backup_directory):
                    where = f"{stores.name_of(number)} guarda en el mismo directorio que BACKUP_PATH"
                    yield bad(SUBJECT, f"{where}: no sería otra copia; cambie una de las dos cosas")
                    continue
            except (StoreUnusable, DiskError) as error:
                yield bad(SUBJECT, f"{error}; corríjalo, o quítelo de BACKUP_PROVIDERS")
                continue
            how = "cifradas" if settings.recipients else "sin cifrar (BACKUP_RECIPIENTS)"
            where = f"{stores.name_of(number)}, en {backups_prefix(stores.prefix)}/"
            yield good(SUBJECT, f"{counted(len(files), 'copia', 'copias')} en {where}; las nuevas van {how}")


def is_backup_directory(stores: Stores, provider_id: int, directory: Path) -> bool:
    """Whether what a provider stores comes into the directory of the backups. Raises `StoreUnusable`, `DiskError`."""
    if not directory.is_dir():
        return False
    sender = Sender(stores.open(provider_id), stores.interruption)
    try:
        sender.require_elsewhere(directory, spot_of(stores.prefix, f"probe{SUFFIX}", is_encrypted=False))
    except UnsafeDestination:
        return True
    except MigrationError as error:
        raise stores.fault(provider_id, error) from error
    return False
