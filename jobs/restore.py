"""Brings an execution back from where it lies, identical: bytes, names, modes, times, links, empty directories."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from config.amounts import Timetable
from config.logs import emit, one_line
from config.models import Entry, EntryKind, ProviderRow
from config.settings import ConfigurationError
from config.trees import Tree
from jobs.keys import Place, place_from_uri
from jobs.manifest import fetch_manifest
from jobs.pace import Pacer, Traffic, transfers_within
from jobs.transfers import TransferPool
from providers import build_provider
from providers.base import IntegrityError, MigrationError, Provider
from providers.descriptors import closing_descriptor, open_directory_beneath, open_directory_path
from providers.file_systems import can_be_synced, sync_file_system
from providers.retries import with_retries
from sql.database import Database, StoredExecution

INCOMPLETE_MARK = ".janitor-restore-incomplete"
"""Lies in the destination while it is being filled, so that half an execution never looks like a whole one. Where the
execution itself has a file of that name, a number is added.
"""

NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

LENDING_BITS = stat.S_ISUID | stat.S_ISGID
"""On a file, they lend whoever runs it the rights of its owner, who after a restore is somebody else: whoever restores.
An ordinary user could have left a shell in an execution, to get it back as root's.
"""


class DestinationUnusable(ConfigurationError):
    """The restore's destination is not an empty directory and cannot become one. The message is in Spanish."""


class RestoreImpossible(Exception):
    """There is nothing to restore, or it cannot be told from where. The message is in Spanish."""


class Restore:
    """One execution on its way back into an empty directory. Used once."""

    def __init__(self, provider: Provider, place: Place, pool: TransferPool, interruption: threading.Event) -> None:
        self._provider = provider
        self._place = place
        self._pool = pool
        self._interruption = interruption

    def run(self, destination: Path, manifest_sha256: str | None) -> Tree:
        """Download everything the manifest names, verify it, rebuild the rest; give what was restored.

        Raises `MigrationError` and `DestinationUnusable`. After an error the destination keeps what came, with a
        file in it that says that it is incomplete. Files come back without setuid and setgid: see `LENDING_BITS`.
        """
        tree = fetch_manifest(self._provider, self._place, manifest_sha256, self._interruption)
        with closing_descriptor(_open_empty(destination)) as descriptor:
            try:
                with closing_descriptor(open_directory_beneath(descriptor, [])) as file_system:
                    self._rebuild(descriptor, tree, _Disk(file_system))
                _sync_parent(destination)
            except OSError as error:
                where = error.filename if isinstance(error.filename, str) else ""
                raise DestinationUnusable(
                    f"no se puede escribir en {destination}: {error.strerror} ({one_line(where)})"
                ) from error
        _tell_what_lends_nothing_any_more(tree)
        return tree

    def _rebuild(self, descriptor: int, tree: Tree, disk: _Disk) -> None:
        """All is on the disk before the mark goes, and that it went before this returns. Raises `OSError` too."""
        mark = _mark_beside(tree)
        os.close(os.open(mark, NEW_FILE_FLAGS, 0o600, dir_fd=descriptor))
        others = [entry for entry in tree.entries if entry.kind is not EntryKind.FILE]
        directories = [entry for entry in others if entry.kind is EntryKind.DIRECTORY]
        _make_directories(descriptor, directories[1:])
        self._fetch_files(descriptor, tree, disk)
        _make_links(descriptor, [entry for entry in others if entry.kind is EntryKind.LINK])
        _set_directory_attributes(descriptor, directories[1:], disk)
        os.fsync(descriptor)
        disk.bring_all()
        os.unlink(mark, dir_fd=descriptor)
        _set_directory_attributes(descriptor, directories[:1], disk)  # the top one, whose time this has changed
        os.fsync(descriptor)

    def _fetch_files(self, descriptor: int, tree: Tree, disk: _Disk) -> None:
        def fetch(position: int) -> None:
            self._fetch(descriptor, tree.entry(position), disk)

        order = tree.large_ones_first(tree.file_positions())
        self._pool.for_each(fetch, order, self._interruption)

    def _fetch(self, descriptor: int, entry: Entry, disk: _Disk) -> None:
        with _parent_of(descriptor, entry) as (parent, name):
            try:
                pacer = Pacer(self._pool.traffic, place=0)
                download = partial(self._download, parent, name, entry, pacer, disk)
                with_retries(download, self._interruption, self._provider.progress, pacer.waited_seconds)
            except MigrationError as error:
                raise type(error)(f"{one_line(entry.path)}: {error}") from error

    def _download(self, parent: int, name: str, entry: Entry, pacer: Pacer, disk: _Disk) -> None:
        with closing_descriptor(_new_file(parent, name)) as file:
            digest = hashlib.sha256()
            for chunk in pacer.paced(self._announced_bytes(entry)):
                digest.update(chunk)
                _write_fully(file, chunk)
            if digest.hexdigest() != entry.sha256:
                raise IntegrityError("lo descargado difiere del manifiesto")
            os.fchmod(file, entry.mode & ~LENDING_BITS)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
            disk.bring(file)

    def _announced_bytes(self, entry: Entry) -> Iterator[bytes]:
        """The stored bytes, as long as there are no more than the manifest says: an endless object fills no disk."""
        remaining_bytes = entry.size_bytes
        for chunk in self._provider.open_sized(self._place.key_of(entry.path), entry.size_bytes):
            remaining_bytes -= len(chunk)
            if remaining_bytes < 0:
                raise IntegrityError(f"en la nube hay más que los {entry.size_bytes} bytes del manifiesto")
            yield chunk


class _Disk:
    """Brings what is restored to the disk: a file system as a whole where that is as good, else one thing at a time.

    To be opened before anything is written, as an error that comes later is told to those alone that were there.
    """

    def __init__(self, file_system_descriptor: int) -> None:
        self._file_system = file_system_descriptor
        self._is_synced_as_a_whole = can_be_synced(file_system_descriptor)

    def bring(self, descriptor: int) -> None:
        """Bring one file or directory there, unless `bring_all` will. Raises `OSError`."""
        if not self._is_synced_as_a_whole:
            os.fsync(descriptor)

    def bring_all(self) -> None:
        """Bring everything there that was written. Raises `OSError`."""
        if self._is_synced_as_a_whole:
            sync_file_system(self._file_system)


def _sync_parent(destination: Path) -> None:
    """The destination may have been made just now. Raises `OSError`."""
    with closing_descriptor(open_directory_path(os.path.realpath(destination.parent))) as parent:
        os.fsync(parent)


def _mark_beside(tree: Tree) -> str:
    """A name for the mark that nothing in the tree has."""
    names = itertools.chain([INCOMPLETE_MARK], (f"{INCOMPLETE_MARK}-{number}" for number in itertools.count(2)))
    return next(name for name in names if tree.find(name) is None)


def _tell_what_lends_nothing_any_more(tree: Tree) -> None:
    paths = [entry.path for entry in tree.files if entry.mode & LENDING_BITS]
    if paths:
        emit(
            logging.WARNING,
            "setuid_not_restored",
            f"{len(paths)} ficheros tenían setuid o setgid y se restauraron sin ellos: aquí son de quien restaura; "
            f"el primero, {one_line(paths[0])}",
            files=len(paths),
        )


def _new_file(parent: int, name: str) -> int:
    try:
        return os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=parent)
    except FileExistsError:  # what an earlier try left
        os.unlink(name, dir_fd=parent)
        return os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=parent)


def _write_fully(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _parent_of(descriptor: int, entry: Entry) -> Iterator[tuple[int, str]]:
    *parents, name = entry.path.split("/")
    with closing_descriptor(open_directory_beneath(descriptor, parents)) as parent:
        yield parent, name


def _make_directories(descriptor: int, directories: Sequence[Entry]) -> None:
    for entry in directories:  # path order: a directory comes before what is in it
        with _parent_of(descriptor, entry) as (parent, name):
            os.mkdir(name, 0o700, dir_fd=parent)


def _make_links(descriptor: int, links: Sequence[Entry]) -> None:
    for entry in links:
        with _parent_of(descriptor, entry) as (parent, name):
            os.symlink(entry.link_target or "", name, dir_fd=parent)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)


def _set_directory_attributes(descriptor: int, directories: Sequence[Entry], disk: _Disk) -> None:
    """Last and deepest first: filling a directory changes its time, and its mode may forbid to fill it."""
    for entry in reversed(directories):
        with closing_descriptor(open_directory_beneath(descriptor, [p for p in entry.path.split("/") if p])) as own:
            os.fchmod(own, entry.mode)
            os.utime(own, ns=(entry.mtime_ns, entry.mtime_ns))
            disk.bring(own)


def _open_empty(destination: Path) -> int:
    """Open the destination, made if it is not there. Raises `DestinationUnusable` unless it is an empty directory."""
    try:
        with closing_descriptor(open_directory_path(os.path.realpath(destination.parent))) as parent:
            parts = [destination.name] if destination.name else []  # "." and "/" have no name
            for name in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=parent)
            descriptor = open_directory_beneath(parent, parts)
    except OSError as error:
        raise DestinationUnusable(f"no se puede usar {destination}: {error.strerror}") from error
    names = os.listdir(descriptor)
    if names:
        os.close(descriptor)
        was_interrupted = any(name.startswith(INCOMPLETE_MARK) for name in names)
        halfway = " (una restauración anterior quedó a medias)" if was_interrupted else ""
        raise DestinationUnusable(f"el destino {destination} no está vacío{halfway}")
    return descriptor


def restore_execution(
    database: Database,
    uuid: str,
    destination: Path,
    transfers: int,
    bandwidth: Timetable,
    interruption: threading.Event,
) -> Tree:
    """Restore a migrated execution from where its row says that it lies, no faster than a bandwidth.

    Raises `RestoreImpossible`, `DestinationUnusable`, `MigrationError`, `DatabaseError`.
    """
    database.connect()
    database.require_current_schema()
    found = database.find_executions(uuid)
    if not found:
        raise RestoreImpossible(f"no hay ninguna ejecución con el uuid {one_line(uuid)}")
    stored = found[0]
    if len(found) > 1:
        _tell_several(found)
    if not stored.migrated or stored.uri is None or stored.provider_id is None:
        raise RestoreImpossible(f"la ejecución {one_line(uuid)} no está migrada a la nube")
    try:
        place = place_from_uri(stored.uri)
    except ValueError:
        raise RestoreImpossible(f"ruta_nube no se entiende: {one_line(stored.uri)}") from None
    pool = TransferPool(transfers_within(transfers, bandwidth), Traffic(bandwidth, interruption))
    try:
        with contextlib.closing(_provider(database, stored.provider_id)) as provider:
            return Restore(provider, place, pool, interruption).run(destination, _recorded_sha256(found))
    finally:
        pool.close()


def _tell_several(found: Sequence[StoredExecution]) -> None:
    rows = ", ".join(f"id {row.id} en {row.uri}" if row.migrated else f"id {row.id} sin migrar" for row in found)
    emit(
        logging.WARNING,
        "several_rows",
        f"Hay {len(found)} ejecuciones con el uuid {one_line(found[0].uuid)} ({one_line(rows)}): se restaura la "
        "primera; compruebe que es la que busca",
        execution=found[0].uuid,
        rows=len(found),
    )


def _recorded_sha256(found: Sequence[StoredExecution]) -> str | None:
    """The manifest's hash as it was recorded for the first row, or else for another one whose copy lies there, too."""
    first = found[0]
    same_place = [row for row in found if (row.uri, row.provider_id) == (first.uri, first.provider_id)]
    return next((row.manifest_sha256 for row in same_place if row.manifest_sha256 is not None), None)


def _provider(database: Database, provider_id: int) -> Provider:
    """The provider that holds the copy; one that is not active any more can still be read."""
    for item in database.load_provider_rows():
        if isinstance(item, ProviderRow) and item.id == provider_id:
            return build_provider(item)
        if not isinstance(item, ProviderRow) and item[0]["id"] == provider_id:
            raise RestoreImpossible(f"el proveedor {one_line(item[0]['nombre'])} no se puede usar: {item[1]}")
    raise RestoreImpossible(f"el proveedor con id {provider_id} ya no existe en cloud_providers")
