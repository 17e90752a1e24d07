"""Writes the compressed copy of a log and proves it. Works on descriptors only; knows no names and no directories."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat
import threading
import zlib
from collections.abc import Iterator

from isal import isal_zlib

from config.process.write_advice import user_name
from jobs.logs.errors import LogLeft, NoRoom, RunStopped

BLOCK_BYTES = 1024 * 1024
LEVEL = 2
"""Of logs, as small as level 3 makes them, in half the time: 0.276 of their size, where gzip -6 comes to 0.258."""

GZIP_FORMAT = 31
"""The largest window, in gzip's wrapping (`wbits` of zlib)."""

ACCESS_LIST = "system.posix_acl_access"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM_LEFT = "su copia comprimida no cabe en el espacio libre: libere espacio en ese disco"
PARTS_OF_HOLES = 100
"""A log whose data is a larger part than one of these gains by compression, whatever becomes of its holes."""

SAMPLE_BYTES = 256 * 1024


def write_compressed(source: int, target: int, most_bytes: float, interruption: threading.Event) -> int:
    """Write the gzip of a file's contents to another, empty file; return its size.

    Raises `NoRoom` when it would exceed `most_bytes`; `RunStopped`; `OSError`.
    """
    compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP_FORMAT)
    read_bytes = written_bytes = 0
    while block := os.pread(source, BLOCK_BYTES, read_bytes):
        if interruption.is_set():
            raise RunStopped
        read_bytes += len(block)
        written_bytes += _write(target, compressor.compress(block), most_bytes - written_bytes)
    return written_bytes + _write(target, compressor.flush(), most_bytes - written_bytes)


def _write(target: int, piece: bytes, most_bytes: float) -> int:
    if len(piece) > most_bytes:
        raise NoRoom(NO_ROOM_LEFT)
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(target, rest) :]
    return len(piece)


def begin_writing_to_disk(target: int) -> None:
    """Let the kernel begin to write a file, and wait for nothing; `os.fsync` takes less time later.

    Linux does so for pages that are not needed any more (posix_fadvise(2)). Elsewhere nothing may happen.
    """
    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)


def estimate_compressed_bytes(source: int, size_bytes: int) -> int:
    """Estimate the size of a file's gzip from its beginning, middle and end."""
    sample = b"".join(os.pread(source, SAMPLE_BYTES, size_bytes * part // 4) for part in (0, 2, 3))
    ratio = len(isal_zlib.compress(sample, LEVEL)) / (len(sample) or 1)
    return int(size_bytes * ratio)


def bytes_outside_holes(source: int, size_bytes: int) -> float:
    """How much of a file its data takes, if nearly all of it is holes, which take nothing; else more than any copy."""
    end = found = 0
    try:
        while end < size_bytes and found * PARTS_OF_HOLES < size_bytes:
            begin = os.lseek(source, end, os.SEEK_DATA)
            end = os.lseek(source, begin, os.SEEK_HOLE)
            found += end - begin
    except OSError as error:
        if error.errno != errno.ENXIO:  # no more data; else a file system that cannot tell
            return math.inf
    return found if found * PARTS_OF_HOLES < size_bytes else math.inf


def holds_the_same(source: int, copy: int, interruption: threading.Event) -> bool:
    """Whether a gzip file holds exactly the bytes that another file has now. Both are read to the end.

    A different library reads what the first one has written, so that one bug cannot hide in both. Raises `RunStopped`,
    `OSError`.
    """
    position = 0
    try:
        for piece in _inflated(copy):
            if interruption.is_set():
                raise RunStopped
            if os.pread(source, len(piece), position) != piece:
                return False
            position += len(piece)
    except (zlib.error, EOFError):
        return False
    return os.pread(source, 1, position) == b""


def _inflated(descriptor: int) -> Iterator[bytes]:
    """The contents of a gzip file of one or more members, in pieces. Raises `zlib.error`, `EOFError`, `OSError`."""
    position, rest = 0, b""
    member = None
    while True:
        if not rest:
            rest = os.pread(descriptor, BLOCK_BYTES, position)
            position += len(rest)
            if not rest and member is None and position > 0:
                return
        was_given = bool(rest)
        member = member or zlib.decompressobj(GZIP_FORMAT)
        piece = member.decompress(rest, BLOCK_BYTES)
        yield piece
        rest = member.unconsumed_tail
        if member.eof:
            rest, member = member.unused_data, None
        elif not was_given and not piece:
            raise EOFError("cut short")


def keep_attributes(source: int, status: os.stat_result, target: int) -> None:
    """Give a copy its original's owner, mode, times, access list and, where possible, other extended attributes.

    Raises `LogLeft` where the owner, the group or the access list cannot be kept: others could then read the copy, or
    its readers no longer could. Raises `OSError`.
    """
    made = os.fstat(target)
    if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        _keep_owner(target, status)
    _keep_extended_attributes(source, target)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _keep_owner(target: int, status: os.stat_result) -> None:
    try:
        os.fchown(target, status.st_uid, status.st_gid)
    except PermissionError as error:
        owner = f"{user_name(status.st_uid)} (grupo {status.st_gid})"
        raise LogLeft(
            f"es de {owner} y el comprimido no puede serlo: ejecute este programa como ese usuario"
        ) from error


def _keep_extended_attributes(source: int, target: int) -> None:
    try:
        names = os.listxattr(source)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    if ACCESS_LIST in names:
        os.setxattr(target, ACCESS_LIST, os.getxattr(source, ACCESS_LIST))
    else:
        with contextlib.suppress(OSError):  # none was inherited from the directory's default
            os.removexattr(target, ACCESS_LIST)
    for name in names:
        if name != ACCESS_LIST:
            with contextlib.suppress(OSError):  # some only the kernel or root may set, and none controls read access
                os.setxattr(target, name, os.getxattr(source, name))
