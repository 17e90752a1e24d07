"""Brings an execution back from where it lies, identical: bytes, names, modes, times, links, empty directories."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from config.logs import one_line
from config.models import Entry, EntryKind, ProviderRow, Tree
from jobs.keys import Place, place_from_uri
from jobs.manifest import fetch_manifest
from jobs.retries import with_retries
from jobs.transfers import TransferPool
from providers import build_provider
from providers.base import IntegrityError, MigrationError, Provider
from providers.descriptors import closing_descriptor, open_directory_beneath, open_directory_path
from sql.database import Database

INCOMPLETE_MARK = ".janitor-restore-incomplete"
"""Lies in the destination while it is being filled, so that half an execution never looks like a whole one."""

NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class DestinationUnusable(Exception):
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
        file in it that says that it is incomplete.
        """
        tree = fetch_manifest(self._provider, self._place, manifest_sha256, self._interruption).tree
        with closing_descriptor(_open_empty(destination)) as descriptor:
            try:
                os.close(os.open(INCOMPLETE_MARK, NEW_FILE_FLAGS, 0o600, dir_fd=descriptor))
                self._rebuild(descriptor, tree)
                os.unlink(INCOMPLETE_MARK, dir_fd=descriptor)
                _set_directory_attributes(descriptor, tree)
            except OSError as error:
                raise DestinationUnusable(
                    f"no se puede escribir en {destination}: {error.strerror} ({one_line(error.filename or '')})"
                ) from error
        return tree

    def _rebuild(self, descriptor: int, tree: Tree) -> None:
        for entry in tree.entries:  # path order: a directory comes before what is in it
            if entry.kind is EntryKind.DIRECTORY and entry.path:
                with _parent_of(descriptor, entry) as (parent, name):
                    os.mkdir(name, 0o700, dir_fd=parent)
        self._pool.for_each(lambda entry: self._fetch(descriptor, entry), tree.files, self._interruption)
        for entry in tree.entries:
            if entry.kind is EntryKind.LINK and entry.link_target is not None:
                with _parent_of(descriptor, entry) as (parent, name):
                    os.symlink(entry.link_target, name, dir_fd=parent)
                    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _fetch(self, descriptor: int, entry: Entry) -> None:
        with _parent_of(descriptor, entry) as (parent, name):
            try:
                with_retries(lambda: self._download(parent, name, entry), self._interruption)
            except MigrationError as error:
                raise type(error)(f"{one_line(entry.path)}: {error}") from error

    def _download(self, parent: int, name: str, entry: Entry) -> None:
        with contextlib.suppress(FileNotFoundError):  # what an earlier try left
            os.unlink(name, dir_fd=parent)
        with closing_descriptor(os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=parent)) as file:
            digest = hashlib.sha256()
            for chunk in self._provider.open(self._place.key_of(entry.path)):
                digest.update(chunk)
                _write_fully(file, chunk)
            if digest.hexdigest() != entry.sha256:
                raise IntegrityError("lo descargado difiere del manifiesto")
            os.fchmod(file, entry.mode)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))


def _write_fully(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _parent_of(descriptor: int, entry: Entry) -> Iterator[tuple[int, str]]:
    *parents, name = entry.path.split("/")
    with closing_descriptor(open_directory_beneath(descriptor, parents)) as parent:
        yield parent, name


def _set_directory_attributes(descriptor: int, tree: Tree) -> None:
    """Last and deepest first: filling a directory changes its time, and its mode may forbid to fill it."""
    for entry in reversed(tree.entries):
        if entry.kind is EntryKind.DIRECTORY:
            with closing_descriptor(open_directory_beneath(descriptor, [p for p in entry.path.split("/") if p])) as own:
                os.fchmod(own, entry.mode)
                os.utime(own, ns=(entry.mtime_ns, entry.mtime_ns))


def _open_empty(destination: Path) -> int:
    """Open the destination, made if it is not there. Raises `DestinationUnusable` unless it is an empty directory."""
    path = os.path.realpath(destination.parent) + "/" + destination.name
    try:
        with contextlib.suppress(FileExistsError):
            Path(path).mkdir()
        descriptor = open_directory_path(path)
    except OSError as error:
        raise DestinationUnusable(f"no se puede usar {destination}: {error.strerror}") from error
    names = os.listdir(descriptor)
    if names:
        os.close(descriptor)
        halfway = " (una restauración anterior quedó a medias)" if INCOMPLETE_MARK in names else ""
        raise DestinationUnusable(f"el destino {destination} no está vacío{halfway}")
    return descriptor


def restore_execution(
    database: Database, uuid: str, destination: Path, transfers: int, interruption: threading.Event
) -> Tree:
    """Restore a migrated execution from where its row says that it lies.

    Raises `RestoreImpossible`, `DestinationUnusable`, `MigrationError`, `DatabaseError`.
    """
    database.connect()
    database.require_current_schema()
    stored = next(iter(database.find_executions(uuid)), None)
    if stored is None:
        raise RestoreImpossible(f"no hay ninguna ejecución con el uuid {one_line(uuid)}")
    if not stored.migrated or stored.uri is None or stored.provider_id is None:
        raise RestoreImpossible(f"la ejecución {one_line(uuid)} no está migrada a la nube")
    try:
        place = place_from_uri(stored.uri)
    except ValueError:
        raise RestoreImpossible(f"ruta_nube no se entiende: {one_line(stored.uri)}") from None
    pool = TransferPool(transfers)
    try:
        with contextlib.closing(_provider(database, stored.provider_id)) as provider:
            return Restore(provider, place, pool, interruption).run(destination, stored.manifest_sha256)
    finally:
        pool.close()


def _provider(database: Database, provider_id: int) -> Provider:
    """The provider that holds the copy; one that is not active any more can still be read."""
    for item in database.load_provider_rows():
        if isinstance(item, ProviderRow) and item.id == provider_id:
            return build_provider(item)
        if not isinstance(item, ProviderRow) and item[0]["id"] == provider_id:
            raise RestoreImpossible(f"el proveedor {one_line(item[0]['nombre'])} no se puede usar: {item[1]}")
    raise RestoreImpossible(f"el proveedor con id {provider_id} ya no existe en cloud_providers")
