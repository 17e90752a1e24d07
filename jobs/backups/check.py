"""What `check` and `status` say of the backups; the words are in `keeping/summary.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from config.logs import one_line
from config.settings import Settings
from config.text.plurals import counted
from config.text.times import Clock
from jobs.backups.errors import BackupError
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.keeping.summary import SUBJECT, findings
from jobs.backups.keeping.whereabouts import off_site_findings
from jobs.backups.offsite.check import check as check_providers
from jobs.backups.reading.programs import find_programs
from jobs.backups.reading.source import facts_of
from jobs.backups.records import Records
from jobs.backups.settings import BackupSettings
from jobs.backups.templates import QUERIES
from jobs.context import Context
from jobs.findings import Finding, bad, good
from sql.errors import DatabaseError, SchemaError
from sql.snapshots import SnapshotSession


def check(context: Context) -> Iterator[Finding]:
    """Look at the programs, the directory and the rows. Raises `DatabaseError` for the daemon's own database."""
    yield programs(context)
    yield from unreadable(context)
    try:
        yield from status(context)
    except SchemaError:  # others report missing rights and tables
        return
    yield from check_providers(context)


def check_programs(settings: Settings, own_settings: BackupSettings) -> Iterator[Finding]:
    """Look for the programs: those that fit the server, or any at all while it does not answer."""
    address = own_settings.database_url or settings.database_url
    try:
        yield _programs_for(address, own_settings.programs)
    except DatabaseError:
        yield _programs_at_all(own_settings.programs)
    except BackupError as error:
        yield bad(SUBJECT, str(error))


def _programs_at_all(directory: Path | None) -> Finding:
    try:
        found = find_programs(0, "", directory)
    except BackupError as error:
        return bad(SUBJECT, str(error))
    text = f"{found.pg_dump} {found.version}; si vale para el servidor se sabrá cuando la base de datos responda"
    return good(SUBJECT, text)


def status(context: Context) -> Iterator[Finding]:
    """Look at the rows and the directory. Raises `DatabaseError`."""
    records = Records(context.query, context.settings.host)
    shelf = Shelf(tuple(records.all()), context.settings.host)
    directory = context.settings.backup_directory.absolute()
    settings: BackupSettings = context.own_settings
    clock = Clock(context.now, context.settings.time_zone)
    yield from findings(shelf, directory, settings.verify_days, clock)
    yield from off_site_findings(shelf, settings, records.last_signs, clock)


def programs(context: Context) -> Finding:
    """Whether the database that is to be backed up answers, and which `pg_dump` fits its server."""
    own: BackupSettings = context.own_settings
    try:
        return _programs_for(own.database_url or context.settings.database_url, own.programs)
    except DatabaseError as error:
        return bad(SUBJECT, f"{'BACKUP_DATABASE_URL: ' if own.database_url else ''}{error}")
    except BackupError as error:
        return bad(SUBJECT, str(error))


def unreadable(context: Context) -> Iterator[Finding]:
    """What a backup has to read and the role may not. Where the database does not answer, `programs` says so."""
    own: BackupSettings = context.own_settings
    try:
        with SnapshotSession(own.database_url or context.settings.database_url, QUERIES) as session:
            ((role, tables, table, objects, object_id),) = session.query("count_unreadable")
    except DatabaseError:
        return
    if tables:
        what = counted(tables, "tabla o secuencia", "tablas o secuencias")
        grant = f"GRANT pg_read_all_data TO {_text(role)}, y BYPASSRLS si tiene políticas (RLS)"
        yield bad(SUBJECT, one_line(f"el usuario {_text(role)} no puede leer {what}, como {_text(table)}: {grant}"))
    if objects:
        what = counted(objects, "objeto grande", "objetos grandes")
        grant = f"GRANT SELECT ON LARGE OBJECT {object_id} TO {_text(role)}, o hágalo miembro de su dueño"
        yield bad(SUBJECT, one_line(f"el usuario {_text(role)} no puede leer {what}, como {object_id}: {grant}"))


def _text(name: bytes) -> str:
    return bytes(name).decode("utf-8", "surrogateescape")


def _programs_for(database_url: str, directory: Path | None) -> Finding:
    facts = facts_of(database_url)
    found = find_programs(facts.server_major, facts.server_version, directory)
    return good(SUBJECT, f"servidor {facts.server_version}, {found.pg_dump} {found.version}")
