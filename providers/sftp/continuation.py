"""Unfinished files of earlier attempts: the server copies what they hold into a new file, so that it need not be sent
again.

The new file is another one for the server, too: requests of the earlier attempt that arrive late write to the old file.
What was copied is no evidence of content: `PutReceipt.sent_whole` says so.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from config.errors import RunInterrupted
from providers.file_trees import is_temporary_name_of, parts_of_key
from providers.sftp.packets import READ_FLAGS, Attributes, PacketType, string
from providers.sftp.protocol import IN_FLIGHT_BYTES, SftpSession
from providers.sftp.resumption import SourceFailed

COPY_DATA = b"copy-data"
"""OpenSSH's extension, from 9.0 on. Source: OpenSSH's file PROTOCOL, 4.11."""

COPIED_AT_A_TIME_BYTES = 64 * 1024 * 1024
"""The server answers nothing else meanwhile."""

NO_ATTRIBUTES = struct.pack(">I", 0)

Entry = tuple[tuple[str, ...], str, Attributes]
"""A directory, a name in it, and its attributes."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """An unfinished file that an earlier attempt left."""

    directory: tuple[str, ...]
    name: str
    size_bytes: int

    def is_of(self, directory: tuple[str, ...], target: str) -> bool:
        """Whether it was begun for this name in this directory."""
        return self.directory == directory and is_temporary_name_of(target, self.name)


class KeptFiles:
    """The unfinished files that later uploads may begin with. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: list[KeptFile] = []

    def forget_below(self, prefix: str, unfinished: Sequence[Entry]) -> Sequence[Entry]:
        """Keep no unfinished file below a prefix. Returns those to discard, which is all."""
        with self._lock:
            self._files = [file for file in self._files if not "/".join((*file.directory, "")).startswith(prefix)]
        return unfinished

    def keep_below(self, prefix: str, unfinished: Sequence[Entry]) -> Sequence[Entry]:
        """Keep the unfinished files below a prefix that are worth it. Returns those to discard."""
        self.forget_below(prefix, unfinished)
        worth = [entry for entry in unfinished if (entry[2].size_bytes or 0) > IN_FLIGHT_BYTES]
        with self._lock:
            self._files += [KeptFile(directory, name, found.size_bytes or 0) for directory, name, found in worth]
        return [entry for entry in unfinished if entry not in worth]

    def hand_over(self, keys: Iterable[str]) -> Sequence[KeptFile]:
        """Those of some keys, which are not kept here any more."""
        if not self._files:
            return ()
        targets = [(tuple(directories), target) for *directories, target in map(parts_of_key, keys)]
        with self._lock:
            theirs = [file for file in self._files if any(file.is_of(*target) for target in targets)]
            self._files = [file for file in self._files if file not in theirs]
        return theirs

    def add(self, files: Iterable[object]) -> None:
        """Keep what `hand_over` returned in another process."""
        with self._lock:
            self._files += [file for file in files if isinstance(file, KeptFile)]

    def take(self, key: str, size_bytes: int) -> KeptFile | None:
        """The largest one that was begun for a key and is no larger than its object; it is given out once."""
        *directories, target = parts_of_key(key)
        with self._lock:
            of_key = [file for file in self._files if file.is_of(tuple(directories), target)]
            usable = [file for file in of_key if file.size_bytes <= size_bytes]
            if not usable:
                return None
            largest = max(usable, key=lambda file: file.size_bytes)
            self._files.remove(largest)
            return largest


def whole_pieces(size_bytes: int, piece_bytes: int) -> int:
    """How many bytes of a file are whole pieces of the size in which it is sent."""
    return size_bytes - size_bytes % piece_bytes


def copy_beginning(session: SftpSession, path: bytes, handle: bytes, size_bytes: int) -> None:
    """Have the server copy the beginning of a file into an open one, and remove the first.

    Raises `StatusError`, `SessionLost`; then requests to copy may still take effect.
    """
    opened = session.ask(PacketType.OPEN, string(path) + struct.pack(">I", READ_FLAGS) + NO_ATTRIBUTES)
    source = opened.handle()
    for start in range(0, size_bytes, COPIED_AT_A_TIME_BYTES):
        length = min(COPIED_AT_A_TIME_BYTES, size_bytes - start)
        span = string(source) + struct.pack(">QQ", start, length) + string(handle) + struct.pack(">Q", start)
        session.answer(session.extended(COPY_DATA, span), patient=True).require_ok()
    ended = [session.post(PacketType.CLOSE, string(source)), session.post(PacketType.REMOVE, string(path))]
    for number in ended:
        session.answer(number, patient=True)


def continued_later(session: SftpSession) -> Callable[[BaseException], bool]:
    """Whether the next attempt can begin with a file at which an error ended this one: if the run is being stopped."""

    def is_worth_keeping(error: BaseException) -> bool:
        is_stop = isinstance(error, SourceFailed) and isinstance(error.error, RunInterrupted)
        return is_stop and COPY_DATA in session.extensions

    return is_worth_keeping
