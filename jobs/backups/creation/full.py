"""A full backup: one file of three gzip members, the tables, their rows, and the rest."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from config.logs import one_line
from config.text.plurals import counted
from jobs.backups.errors import DumpFailed, require_no_interruption
from jobs.backups.files.compression import GzipMember
from jobs.backups.files.description import FORMAT, Description, fingerprint, settings_as_statements
from jobs.backups.files.directory import Target, disk_errors, prepare
from jobs.backups.files.drafts import Draft
from jobs.backups.files.finishing import ReadBack, publish
from jobs.backups.files.names import FULL, STAMP, SUFFIX, free_stem
from jobs.backups.reading.dump import definitions, dumped
from jobs.backups.reading.dump_parser import Rows, TableBegins, parsed_in_parts
from jobs.backups.reading.large_objects import large_objects
from jobs.backups.reading.row_counts import RowCounts
from jobs.backups.reading.source import Snapshot, Source, open_snapshot
from jobs.backups.result import BackupFile, Kind
from jobs.backups.templates import filled_views, lending, refresh, render, returning

FILLED = b"\n--\n\n"
"""The end of the comment above each statement of `pg_dump`."""


def make_full_once(
    source: Source, target: Target, when: datetime, interruption: threading.Event, reason: str
) -> BackupFile:
    """Make a full backup of a snapshot taken now; `reason` says why it is not a differential.

    Raises `BackupError` and `DatabaseError`, and leaves nothing then.
    """
    with open_snapshot(source) as snapshot:
        prepare(target)
        with disk_errors(target.directory):
            name = free_stem(target.directory, when, FULL) + SUFFIX
            backup_id = f"{when.strftime(STAMP)}_{secrets.token_hex(8)}"
            with Draft(target.directory, name) as draft, ReadBack(draft) as reading:
                return _write(snapshot, draft, reading, backup_id, interruption, reason)


def _write(
    snapshot: Snapshot, draft: Draft, reading: ReadBack, backup_id: str, interruption: threading.Event, reason: str
) -> BackupFile:
    values = snapshot.values()
    pre_data, post_data, warnings = definitions(snapshot.shared, interruption)
    with GzipMember(draft) as member:
        member.write(render("full_head", id=backup_id))
        member.write(render("session", settings=settings_as_statements(values.settings)))
        member.write(pre_data)
        member.write(lending(pre_data))
    data_start, before_data = draft.size_bytes, member.plain_bytes
    with RowCounts(snapshot, interruption) as counts:
        with GzipMember(draft) as member:
            rows = _write_rows(snapshot, member.write, interruption)
        remarks = counts.require(rows)
    data_end, data_bytes = draft.size_bytes, member.plain_bytes
    with GzipMember(draft) as member:
        digests = _write_large_objects(snapshot, member.write, interruption)
        member.write(_with_refreshes_that_warn(post_data, snapshot))
        member.write(returning(pre_data))
        member.write(render("marker", id=backup_id))
    roles, tablespaces = snapshot.roles(), snapshot.tablespaces()
    snapshot.require_alive()
    snapshot.session.close()  # it holds back vacuum, and reading the rest back takes a while
    contents = reading.finish(before_data + data_bytes + member.plain_bytes)
    database = snapshot.database
    description = Description(
        format=FORMAT,
        id=backup_id,
        file=draft.final.name,
        size_bytes=contents.size_bytes,
        sha256=contents.sha256,
        md5=contents.md5,
        data_start=data_start,
        data_end=data_end,
        data_bytes=data_bytes,
        fingerprint=fingerprint(pre_data, post_data),
        database=database.name,
        database_oid=database.oid,
        encoding=database.encoding,
        server_major=database.server_major,
        dump_major=snapshot.shared.programs.major,
        tables=len(rows),
        rows=rows.total(),
        large_objects=digests,
        roles=roles,
        tablespaces=tablespaces,
        settings=values.settings,
        locale=values.locale,
        filenodes={str(table.oid): table.filenode for table in snapshot.tables.values()},
    )
    text = description.to_bytes()
    publish(draft, contents, text)
    return BackupFile(
        Kind.FULL, draft.final, backup_id, contents, len(rows), rows.total(), reason=reason,
        description_sha256=hashlib.sha256(text).hexdigest(), remarks=(*warnings, *remarks),
    )  # fmt: skip


def _with_refreshes_that_warn(post_data: bytes, snapshot: Snapshot) -> bytes:
    """A view whose query fails by now must not prevent the rest of a backup from being restored."""
    settings = snapshot.view_settings()
    for view in filled_views(post_data, snapshot.materialised_views()):
        of_dump = FILLED + render("refresh_of_dump", view=view)
        if post_data.count(of_dump) == 1:  # else a comment says the same: what pg_dump wrote stays
            post_data = post_data.replace(of_dump, FILLED + refresh(view, settings))
    return post_data


def _write_rows(snapshot: Snapshot, write: Callable[[bytes], object], interruption: threading.Event) -> Counter[bytes]:
    """Return how many rows of each table came.

    Raises `DumpFailed` unless exactly the tables of the snapshot come, each partition on its own.
    """
    rows: Counter[bytes] = Counter()
    portions = 0

    def passed_on() -> Iterator[bytes]:
        for block in dumped(snapshot.shared, "data", interruption):
            write(block)
            yield block

    for event in parsed_in_parts(passed_on()):
        match event:
            case TableBegins():
                table = event.table
                rows[table] += 0
                portions += 1
            case Rows():
                rows[table] += event.count()
    expected = sum(not table.is_partitioned for table in snapshot.tables.values())
    if portions != expected or not rows.keys() <= snapshot.tables.keys():
        raise DumpFailed(
            f"pg_dump terminó con 0, pero volcó {counted(portions, 'tabla', 'tablas')} y no las {expected} de la base "
            f"de datos: mire qué programa es {one_line(snapshot.shared.programs.pg_dump)} (BACKUP_PG_BIN)"
        )
    return rows


def _write_large_objects(
    snapshot: Snapshot, write: Callable[[bytes], object], interruption: threading.Event
) -> dict[str, str]:
    digests = {}
    for large_object in large_objects(snapshot.session):
        require_no_interruption(interruption)
        digests[str(large_object.oid)] = large_object.digest(snapshot.session)
        large_object.write(snapshot.session, write)
    return digests
