"""Walks an execution's directory by descriptors, and reads its files so that every change is detected."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Generator, Iterable, Iterator

from config.errors import RunInterrupted, SourceChanged, SourceUnreadable, UnsafeSource
from config.logs import one_line
from config.models import Entry, EntryKind, FileIdentity
from config.text.wording import reason_of
from files.descriptors import CHUNK_SIZE_BYTES, closing_descriptor, open_directory_beneath, open_file_beneath
from files.directory_names import sorted_names
from files.mounts import has_no_mount, mount_point_in
from files.tree import Tree
from files.writers import has_writer

SUBVOLUME_INODE = 256
"""Source: `BTRFS_FIRST_FREE_OBJECTID`, the inode of the root of each subvolume of btrfs."""

DEEPEST_NESTING = 256
"""Deeper than any object store's key length allows, and shallow enough to hold one descriptor for each level."""

CLOCK_TICK_NS = 20_000_000
"""Twice the longest period in which kernels before 6.13 give all changes the same time."""

WHOLE_SECOND_NS = 1_000_000_000
"""The clock tick of file systems that store whole seconds only."""

WAITS_FOR_QUIET = 3

KINDS = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.DIRECTORY, stat.S_IFLNK: EntryKind.LINK}


def walk_quiet_tree(descriptor: int, interruption: threading.Event) -> Tree:
    """As `walk_tree`, at a moment when no file has changed in the current tick of the kernel's clock.

    So every later change gets another time, and the file another identity. Waits for that moment, a few seconds at
    most. Raises as `walk_tree`, also `SourceChanged` if files keep changing, and `RunInterrupted`.
    """
    for _ in range(WAITS_FOR_QUIET):
        started_ns = time.time_ns()
        tree = walk_tree(descriptor)
        now_ns = time.time_ns()
        wait_ns = max((_ns_until_quiet(changed_ns, started_ns, now_ns) for changed_ns in tree.changes_ns()), default=0)
        if wait_ns <= 0:
            return tree
        if interruption.wait(wait_ns / 1e9):
            raise RunInterrupted("interrumpido")
    raise SourceChanged("sus ficheros no dejan de cambiar")


def _ns_until_quiet(changed_ns: int, started_ns: int, now_ns: int) -> int:
    """0 also for a time in the future, which no change can get before then."""
    tick_ns = CLOCK_TICK_NS if changed_ns % WHOLE_SECOND_NS else WHOLE_SECOND_NS
    return changed_ns + tick_ns - now_ns if started_ns - tick_ns <= changed_ns <= now_ns else 0


def walk_tree(descriptor: int) -> Tree:
    """Everything that `walk` finds. Raises as `walk`."""
    return Tree(walk(descriptor))


def walk(descriptor: int) -> Generator[Entry, None, None]:
    """Everything below an open directory, in path order. Follows no links and opens only directories.

    Raises `UnsafeSource` for sockets, FIFOs, devices, mount points and excessive nesting, `SourceUnreadable` for a
    directory that cannot be read, `SourceChanged` for entries that vanish meanwhile.
    """
    mounted = mount_point_in(descriptor)
    if mounted is not None:
        raise UnsafeSource(f"{one_line(mounted) or 'su directorio'} es un punto de montaje")
    top = os.fstat(descriptor)
    yield _entry("", top, None)
    yield from _below(descriptor, "", 0, _Volume(top.st_dev))


class _Volume:
    """The volume of one directory, which may have several device numbers."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._layers: set[int] = set()

    def require_part(self, parent: int, status: os.stat_result, path: str) -> None:
        """Raises `UnsafeSource` for a mount in a directory, and for a subvolume.

        A file in another layer of an overlay has that layer's device number; a directory has the overlay's.
        """
        if status.st_dev == self._device:
            return
        is_directory = stat.S_ISDIR(status.st_mode)
        if not is_directory and status.st_dev in self._layers:
            return
        if not has_no_mount(parent):
            raise UnsafeSource(f"{one_line(path)} es un punto de montaje")
        if is_directory:
            raise UnsafeSource(_told_volume(status, path))
        self._layers.add(status.st_dev)


def _told_volume(status: os.stat_result, path: str) -> str:
    if status.st_ino != SUBVOLUME_INODE:
        return f"{one_line(path)} está en otro sistema de ficheros"
    return (
        f"{one_line(path)} es un subvolumen de btrfs dentro de la ejecución, que no se copia ni se borra con ella: "
        "sáquelo de ahí, o copie su contenido a un directorio normal"
    )


def _below(descriptor: int, path: str, depth: int, volume: _Volume) -> Iterator[Entry]:
    """Everything in an open directory and below it. Raises `UnsafeSource` outside the volume.

    A directory's name comes twice: alone, and with a slash for its content. So `a.txt` comes between `a` and `a/b`,
    as in the order of whole paths.
    """
    if depth > DEEPEST_NESTING:
        raise UnsafeSource(f"hay más de {DEEPEST_NESTING} directorios anidados")
    beginning = f"{path}/" if path else ""
    directories = set()
    try:
        for name in sorted_names(descriptor):
            if not name.endswith("/"):
                entry = _item(descriptor, name, beginning + name, volume)
                if entry.kind is EntryKind.DIRECTORY:
                    directories.add(f"{name}/")
                yield entry
            elif name in directories:
                directories.remove(name)
                with closing_descriptor(open_directory_beneath(descriptor, [name[:-1]])) as child:
                    yield from _below(child, beginning + name[:-1], depth + 1, volume)
        if directories:
            raise SourceChanged(f"cambió {one_line(beginning + directories.pop())}")
    except FileNotFoundError as error:
        raise SourceChanged(f"desapareció {_where(path, error)}") from error
    except OSError as error:
        raise SourceUnreadable(f"no se puede leer {_where(path, error)}: {reason_of(error)}") from error


def _item(parent: int, name: str, path: str, volume: _Volume) -> Entry:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    volume.require_part(parent, status, path)
    if stat.S_ISLNK(status.st_mode):
        return _entry(path, status, os.readlink(name, dir_fd=parent))
    if stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeSource(f"{one_line(path)} no es un fichero, un directorio ni un enlace")
    return _entry(path, status, None)


def _where(path: str, error: OSError) -> str:
    """The path that an error concerns; `filename` is a number if it concerns the directory itself."""
    name = error.filename if isinstance(error.filename, str) else ""
    return one_line("/".join(part for part in (path, name) if part) or "su directorio")


def _entry(path: str, status: os.stat_result, link_target: str | None) -> Entry:
    return Entry(
        path,
        kind=KINDS[stat.S_IFMT(status.st_mode)],
        mode=stat.S_IMODE(status.st_mode),
        mtime_ns=status.st_mtime_ns,
        size_bytes=status.st_size if stat.S_ISREG(status.st_mode) else 0,
        link_target=link_target,
        identity=identity_of(status),
    )


def identity_of(status: os.stat_result) -> FileIdentity:
    """The identity that distinguishes this state of the inode from any other."""
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def require_unchanged(before: Tree, after: Iterable[Entry]) -> None:
    """Raises `SourceChanged`, naming the first difference, unless a second walk equals the first."""
    expected = iter(before)
    for found in after:
        seen = next(expected, None)
        if seen is None or found.path < seen.path:
            raise SourceChanged(f"apareció {one_line(found.path)}")
        if found.path > seen.path:
            raise SourceChanged(f"desapareció {one_line(seen.path)}")
        if found != seen._replace(sha256=found.sha256):
            raise SourceChanged(f"cambió {one_line(found.path) or 'su directorio'}")
    for seen in expected:
        raise SourceChanged(f"desapareció {one_line(seen.path)}")


class FileSource:
    """The bytes of one file of a tree: exactly those of the state that the walk saw, or an error."""

    def __init__(self, directory_descriptor: int, entry: Entry, interruption: threading.Event) -> None:
        self._directory_descriptor = directory_descriptor
        self._entry = entry
        self._interruption = interruption

    @property
    def size_bytes(self) -> int:
        return self._entry.size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`. Raises `SourceChanged`, `SourceUnreadable`, `RunInterrupted`."""
        try:
            descriptor = open_file_beneath(self._directory_descriptor, self._entry.path.split("/"))
        except FileNotFoundError as error:
            raise SourceChanged(f"desapareció {one_line(self._entry.path)}") from error
        except OSError as error:
            raise SourceUnreadable(f"no se puede leer {one_line(self._entry.path)}: {reason_of(error)}") from error
        try:
            self._make_writers_noticed(descriptor)
            self._require_same(descriptor)
            yield from self._read(descriptor, chunk_size_bytes)
            self._require_same(descriptor)
        finally:
            os.close(descriptor)

    def _make_writers_noticed(self, descriptor: int) -> None:
        """A write through a mapping does not change the file's times unless its page was written to disk before."""
        try:
            if has_writer(descriptor):
                os.fsync(descriptor)
        except OSError as error:
            raise SourceUnreadable(f"no se puede leer {one_line(self._entry.path)}: {reason_of(error)}") from error

    def _read(self, descriptor: int, chunk_size_bytes: int) -> Iterator[bytes]:
        remaining = self._entry.size_bytes
        while remaining:
            if self._interruption.is_set():
                raise RunInterrupted("interrumpido")
            chunk = self._read_fully(descriptor, min(chunk_size_bytes, remaining))
            remaining -= len(chunk)
            yield chunk

    def _read_fully(self, descriptor: int, wanted_bytes: int) -> bytes:
        pieces = []
        while wanted_bytes:
            try:
                piece = os.read(descriptor, wanted_bytes)
            except OSError as error:
                raise SourceUnreadable(f"no se puede leer {one_line(self._entry.path)}: {reason_of(error)}") from error
            if not piece:
                raise SourceChanged(f"{one_line(self._entry.path)} se acortó mientras se leía")
            pieces.append(piece)
            wanted_bytes -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _require_same(self, descriptor: int) -> None:
        if identity_of(os.fstat(descriptor)) != self._entry.identity:
            raise SourceChanged(f"cambió {one_line(self._entry.path)}")


def hash_file(directory_descriptor: int, entry: Entry, interruption: threading.Event) -> str:
    """SHA-256 (lower-case hex) of a file's present bytes. Raises as `FileSource.chunks`."""
    digest = hashlib.sha256()
    for chunk in FileSource(directory_descriptor, entry, interruption).chunks(CHUNK_SIZE_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
