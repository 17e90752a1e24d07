"""Brings an execution back from its provider, identical: bytes, names, modes, times, links, empty directories."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from config.logs import emit, one_line
from config.text.amounts import Timetable
from config.text.plurals import counted
from config.text.wording import reason_of
from files.descriptors import closing_descriptor, open_directory_beneath, open_directory_path
from files.tree import Tree
from jobs.migration.restore.destination import Disk, Target, opened_destination, sync_directory, target_at
from jobs.migration.restore.errors import NO_ROOM, DestinationFull, DestinationUnusable
from jobs.migration.restore.filling import LENDING_BITS, Download, Filling, Restored
from jobs.migration.restore.include import EVERYTHING, Include
from jobs.migration.restore.progress import RestoreProgress, Show, showing
from jobs.migration.restore.source import CHECK_AND_AGAIN, errors_named, stored_copy
from sql.database import Database
from storage.manifest import fetch_manifest_and_hash
from storage.traffic.pace import Traffic, transfers_within
from storage.traffic.transfers import TransferPool

AGAIN = "lo ya restaurado se conserva: repita la misma orden para seguir"


class Restore:
    """One execution on its way back into a directory. Used once."""

    def __init__(
        self,
        download: Download,
        include: Include = EVERYTHING,
        heading: str = "Restaurando",
        show: Show = showing,
    ) -> None:
        """`include` limits it to a part of the execution; `heading` is what the progress begins with that `show`
        shows.
        """
        self._download = download
        self._include = include
        self._heading = heading
        self._show = show

    def run(self, destination: Path, manifest_sha256: str | None) -> Restored:
        """As `fetch` and `fill`, into a directory that an operator has named."""
        return self.fill(target_at(destination), *self.fetch(manifest_sha256))

    def fetch(self, manifest_sha256: str | None) -> tuple[Tree, str]:
        """The wanted part of the manifest's entries, and the manifest's hash.

        Raises `MigrationError`, and `NothingIncluded` where nothing is wanted.
        """
        with errors_named(self._download.place.name, self._download.provider.name, CHECK_AND_AGAIN):
            tree, sha256 = fetch_manifest_and_hash(
                self._download.provider, self._download.place, manifest_sha256, self._download.interruption
            )
        return self._include.part_of(tree), sha256

    def fill(self, target: Target, tree: Tree, sha256: str) -> Restored:
        """Download everything that the tree names, verify it, rebuild the rest; return what was restored.

        What an earlier restore of the same copy left in the destination is kept where it is proven to be equal.
        Progress is shown, see `jobs.migration.restore.progress`. Raises `MigrationError`, `DestinationUnusable`,
        `DestinationFull`, and `RestoreIncomplete` once everything is restored that can be. After an error the
        destination keeps what has arrived, and a file that marks it as incomplete. Files come back without setuid and
        setgid: see `LENDING_BITS`.
        """
        with errors_named(self._download.place.name, self._download.provider.name, AGAIN), _told_errors(target.path):
            with (
                opened_destination(target, self._download.place, sha256, tree, self._include.patterns) as opened,
                closing_descriptor(open_directory_beneath(opened.descriptor, [])) as file_system,
            ):
                progress = RestoreProgress(
                    self._download.place.name, tree.file_count, tree.size_bytes, heading=self._heading
                )
                filling = Filling(self._download, opened, tree, progress)
                with self._show(progress):
                    restored = filling.run(Disk(file_system))
            _sync_parent(target)
        _report_lost_setuid(tree)
        return restored


@contextlib.contextmanager
def _told_errors(destination: Path) -> Iterator[None]:
    """Translate errors of the destination."""
    try:
        yield
    except OSError as error:
        where = one_line(error.filename) if isinstance(error.filename, str) else ""
        if error.errno in NO_ROOM:
            raise DestinationFull(
                f"no queda sitio (bytes, ficheros o cuota) en {destination}: haga sitio; {AGAIN}"
            ) from error
        raise DestinationUnusable(f"no se puede escribir en {destination}: {reason_of(error)} ({where})") from error


def _sync_parent(target: Target) -> None:
    """Sync the target's parent: the target may be new. Raises `OSError`."""
    with closing_descriptor(open_directory_path(target.parent)) as parent:
        sync_directory(parent)


def _report_lost_setuid(tree: Tree) -> None:
    paths = [tree.path(position) for position in tree.file_positions() if tree.mode_of(position) & LENDING_BITS]
    if paths:
        emit(
            logging.WARNING,
            "setuid_not_restored",
            f"{counted(len(paths), 'fichero tenía', 'ficheros tenían')} setuid o setgid, que no se restauran: aquí "
            "son de quien restaura; "
            f"el primero, {one_line(paths[0])}",
            files=len(paths),
        )


def restore_execution(
    database: Database,
    uuid: str,
    destination: Path,
    transfers: int,
    bandwidth: Timetable,
    interruption: threading.Event,
    include: Include = EVERYTHING,
) -> Restored:
    """Restore a migrated execution, or a part of it, from the place in its row, no faster than a bandwidth.

    Raises `RestoreImpossible`, `DatabaseError`, and what `Restore.run` raises.
    """
    pool = TransferPool(transfers_within(transfers, bandwidth), Traffic(bandwidth, interruption))
    try:
        with stored_copy(database, uuid) as copy:
            restore = Restore(Download(copy.provider, copy.place, pool, interruption), include)
            return restore.run(destination, copy.manifest_sha256)
    finally:
        pool.close()
