"""Everything below one execution's directory, packed: a million files take a hundred megabytes, not a gigabyte.

An object with a `str` for each file takes a kilobyte. Here a file is its path in one long text, a record of 52 bytes,
and 32 bytes of SHA-256 once known. Each `Entry` is made on request.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import overload

from config.models import Entry, EntryKind, FileIdentity

RECORD = struct.Struct("<QQQqqIII")
"""End of its text, inode, size; seconds of mtime and ctime, nanoseconds of both; mode. Some file systems keep
more seconds than fit into 64 bits of nanoseconds.
"""

HAS_IDENTITY = 1 << 31
"""Added to the mode if this host has seen the entry; otherwise the entry comes from a manifest."""

SHA256_BYTES = 32
UNKNOWN_SHA256 = bytes(SHA256_BYTES)

LARGE_BYTES = 1024 * 1024
NS_PER_SECOND = 1_000_000_000

MODES = {EntryKind.FILE: stat.S_IFREG, EntryKind.DIRECTORY: stat.S_IFDIR, EntryKind.LINK: stat.S_IFLNK}
KINDS = {mode: kind for kind, mode in MODES.items()}

FILE = EntryKind.FILE
"""Looked up once, because enumeration lookups are slow."""

KIND_BITS = stat.S_IFMT(0xFFFF)
MODE_BITS = 0o7777

BEFORE_TARGET = "\0"
"""Separates a link's path and its target, neither of which can contain it."""


class Tree:
    """The entries in path order, the directory itself, with the path '', first. Each is known by its position.

    Entries are only appended. Once complete, it may be read, and hashes noted, from several threads.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._texts = bytearray()
        self._records = bytearray()
        self._sha256 = bytearray()
        self._last_path: str | None = None
        self._device: int | None = None
        self._other_devices: dict[int, int] = {}
        """Devices by position, of entries on another device than the directory, such as files of overlay layers."""
        self.file_count = 0
        self.size_bytes = 0
        """Bytes of all regular files together."""
        for entry in entries:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Add an entry. Raises `ValueError` unless it comes after the last one in path order."""
        if self._last_path is not None and entry.path <= self._last_path:
            raise ValueError("entries out of order, or a path twice")
        self._last_path = entry.path
        if entry.identity is not None:
            self._note_device(len(self), entry.identity.device)
        self._texts += _text_of(entry).encode("utf-8", "surrogateescape")
        self._records += _record_of(entry, len(self._texts))
        if entry.kind is EntryKind.FILE:
            self.file_count += 1
            self.size_bytes += entry.size_bytes
        if entry.sha256 is not None:
            self.note_sha256(len(self) - 1, bytes.fromhex(entry.sha256))

    def _note_device(self, position: int, device: int) -> None:
        if self._device is None:
            self._device = device
        elif device != self._device:
            self._other_devices[position] = device

    def note_sha256(self, position: int, digest: bytes) -> None:
        """Store the hash of a file's bytes. The first call reserves room for all hashes, so call `reserve_sha256`
        before several threads store them.
        """
        self.reserve_sha256()
        self._sha256[position * SHA256_BYTES : (position + 1) * SHA256_BYTES] = digest

    def reserve_sha256(self) -> None:
        """Make room for the hashes of all entries."""
        missing_bytes = len(self) * SHA256_BYTES - len(self._sha256)
        if missing_bytes:
            self._sha256 += bytes(missing_bytes)

    def __len__(self) -> int:
        return len(self._records) // RECORD.size

    def __iter__(self) -> Iterator[Entry]:
        start = 0
        for position, fields in enumerate(RECORD.iter_unpack(self._records)):
            yield self._entry(position, start, fields)
            start = fields[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and len(self) == len(other) and all(map(Entry.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment] # it is mutable

    @property
    def entries(self) -> Entries:
        """All of them, in path order."""
        return Entries(self.entry, range(len(self)))

    @property
    def files(self) -> Entries:
        """The regular files: the entries whose bytes are uploaded."""
        return Entries(self.entry, self.file_positions())

    def file_positions(self) -> array[int]:
        """The positions of the regular files."""
        records = RECORD.iter_unpack(self._records)
        return array("Q", (position for position, fields in enumerate(records) if stat.S_ISREG(fields[-1])))

    def entry(self, position: int) -> Entry:
        """The entry at a position."""
        return self._entry(position, self._start(position), self._fields(position))

    def _entry(self, position: int, start: int, fields: tuple[int, ...]) -> Entry:
        """Called several times for each file, so rare cases cost the usual ones nothing."""
        end, inode, size_bytes, mtime, ctime, mtime_ns, ctime_ns, mode = fields
        path = self._texts[start:end].decode("utf-8", "surrogateescape")
        kind = KINDS[mode & KIND_BITS]
        mtime_ns += mtime * NS_PER_SECOND
        link_target = None
        shown_bytes = size_bytes
        if kind is not FILE:
            shown_bytes = 0
            if kind is EntryKind.LINK:
                path, _, link_target = path.partition(BEFORE_TARGET)
        identity = None
        if mode & HAS_IDENTITY:
            device = self._other_devices.get(position, self._device or 0) if self._other_devices else self._device or 0
            identity = FileIdentity(device, inode, size_bytes, mtime_ns, ctime * NS_PER_SECOND + ctime_ns)
        sha256 = self.sha256(position) if self._sha256 else None
        return Entry(path, kind, mode & MODE_BITS, mtime_ns, shown_bytes, link_target, sha256, identity)

    def path(self, position: int) -> str:
        """The path at a position."""
        text = self._texts[self._start(position) : self._fields(position)[0]]
        return text.decode("utf-8", "surrogateescape").partition(BEFORE_TARGET)[0]

    def may_mention(self, text: str) -> bool:
        """Whether a text may be part of any path or target: quick, and `False` for nearly every tree."""
        return text.encode() in self._texts

    def fingerprint(self) -> str:
        """Equal for trees with equal names, sizes, times and inodes; it does not cover the bytes."""
        return hashlib.sha256(self._texts + self._records).hexdigest()

    @property
    def text_bytes(self) -> int:
        """The total length of all paths and targets in bytes."""
        return len(self._texts)

    def path_bytes_of(self, position: int) -> int:
        """The length in bytes of the path of the file at a position."""
        return self._fields(position)[0] - self._start(position)

    def is_file(self, position: int) -> bool:
        """Whether the entry at a position is a regular file."""
        return stat.S_ISREG(self._fields(position)[-1])

    def is_directory(self, position: int) -> bool:
        """Whether the entry at a position is a directory."""
        return stat.S_ISDIR(self._fields(position)[-1])

    def mode_of(self, position: int) -> int:
        """The permissions at a position."""
        return stat.S_IMODE(self._fields(position)[-1])

    def size_bytes_of(self, position: int) -> int:
        """The size of the file at a position."""
        return self._fields(position)[2]

    def large_ones_first(self, positions: Sequence[int]) -> Sequence[int]:
        """The large files first, largest first, so that none is sent alone at the end; small ones in path order."""
        return array("Q", chain(*self.divided_by_size(positions)))

    def divided_by_size(self, positions: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """The large files, largest first, and the small files in path order."""
        large = [position for position in positions if self.size_bytes_of(position) > LARGE_BYTES]
        large.sort(key=self.size_bytes_of, reverse=True)
        small = (position for position in positions if self.size_bytes_of(position) <= LARGE_BYTES)
        return large, array("Q", small)

    def sha256(self, position: int) -> str | None:
        """The hash (lower-case hex) at a position, if known."""
        digest = self._sha256[position * SHA256_BYTES : (position + 1) * SHA256_BYTES]
        return None if digest in (b"", UNKNOWN_SHA256) else digest.hex()

    def changes_ns(self) -> Iterator[int]:
        """The ctime of each file that this host has seen."""
        for *_, ctime, _, ctime_ns, mode in RECORD.iter_unpack(self._records):
            if stat.S_ISREG(mode):
                yield ctime * NS_PER_SECOND + ctime_ns

    def newest_mtime_ns(self) -> int:
        """The latest modification time of a file; 0 without files."""
        return max((entry.mtime_ns for entry in self.files), default=0)

    def find(self, path: str, likely_position: int = 0) -> int | None:
        """The position of a path. Quick if it is the likely one, as when paths are looked up in order."""
        if likely_position < len(self) and self.path(likely_position) == path:
            return likely_position
        position = bisect_left(range(len(self)), path, key=self.path)
        return position if position < len(self) and self.path(position) == path else None

    def _fields(self, position: int) -> tuple[int, ...]:
        return RECORD.unpack_from(self._records, position * RECORD.size)

    def _start(self, position: int) -> int:
        return self._fields(position - 1)[0] if position else 0


class Entries(Sequence[Entry]):
    """Some of a tree's entries, each made on request."""

    def __init__(self, entry: Callable[[int], Entry], positions: Sequence[int]) -> None:
        self._entry = entry
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, self._positions)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> Entry | Entries:
        if isinstance(index, slice):
            return Entries(self._entry, self._positions[index])
        return self._entry(self._positions[index])


def _text_of(entry: Entry) -> str:
    return entry.path if entry.link_target is None else f"{entry.path}{BEFORE_TARGET}{entry.link_target}"


def _record_of(entry: Entry, end: int) -> bytes:
    identity = entry.identity or FileIdentity(0, 0, entry.size_bytes, entry.mtime_ns, 0)
    mtime, mtime_ns = divmod(entry.mtime_ns, NS_PER_SECOND)
    ctime, ctime_ns = divmod(identity.ctime_ns, NS_PER_SECOND)
    mode = MODES[entry.kind] | entry.mode | (HAS_IDENTITY if entry.identity else 0)
    return RECORD.pack(end, identity.inode, identity.size_bytes, mtime, ctime, mtime_ns, ctime_ns, mode)
