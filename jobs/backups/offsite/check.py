"""What `check` says of copies at providers: whether the keys and the names in the settings can be used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from config.errors import ConfigurationError
from config.text.plurals import counted
from jobs.backups.offsite.copies import backups_prefix
from jobs.backups.offsite.encryption import identities_of, require_recipients
from jobs.backups.offsite.stores import Stores, StoreUnusable, rows_in
from jobs.backups.settings import BackupSettings
from jobs.context import Context
from jobs.findings import Finding, bad, good, unusable

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
    with closing(Stores(partial(rows_in, context.database), threading.Event())) as stores:
        for reference in settings.providers:
            try:
                number = stores.id_of(reference)
                files = [key for key in stores.listed(number) if key.endswith(".sha256")]
            except StoreUnusable as error:
                yield bad(SUBJECT, f"{error}; corríjalo, o quítelo de BACKUP_PROVIDERS")
                continue
            how = "cifradas" if settings.recipients else "sin cifrar (BACKUP_RECIPIENTS)"
            where = f"{stores.name_of(number)}, en {backups_prefix(stores.prefix)}/"
            yield good(SUBJECT, f"{counted(len(files), 'copia', 'copias')} en {where}; las nuevas van {how}")
