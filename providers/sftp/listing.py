"""Lists directories on the server, several at a time, over several sessions if needed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from providers.file_trees import parts_of_prefix
from providers.progress import Progress
from providers.sftp.base_directory import NOT_THERE, BaseDirectory, is_directory
from providers.sftp.packets import Answer, Attributes, DirectoryEntry, PacketType, SessionLost, StatusError, string
from providers.sftp.protocol import SftpSession
from providers.sftp.resumption import NamesGiven
from providers.shared.resumed_reads import resumed

DIRECTORIES_AT_ONCE = 32
"""How many directories are listed in one burst of requests."""

PAGES_AT_ONCE = 16

SLOWEST_NAMES_PER_SECOND = 40
"""At a hundred bytes each, the slowest permitted answer."""

Entry = tuple[tuple[str, ...], str, Attributes]
"""A directory, a name in it, and its attributes."""


class Listing:
    """Lists what is below the base directory."""

    def __init__(self, base: BaseDirectory, progress: Progress) -> None:
        self._base = base
        self._progress = progress

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Every entry below a prefix, with its directory."""
        start = parts_of_prefix(prefix)
        if start is None:
            return
        top, beginning = tuple(start[0]), start[1]
        pending = deque([top])
        while pending:
            batch = [pending.popleft() for _ in range(min(len(pending), DIRECTORIES_AT_ONCE))]
            for directory, name, attributes in chain.from_iterable(self.pages(prefix, batch)):
                if directory != top or name.startswith(beginning):
                    if is_directory(attributes):
                        pending.append((*directory, name))
                    yield directory, name, attributes

    def pages(self, key: str, directories: Sequence[tuple[str, ...]]) -> Iterator[Sequence[Entry]]:
        """The entries of several directories. After a lost session they are read again, but none is yielded twice."""
        given = {directory: NamesGiven() for directory in directories}
        return resumed(lambda _position: self._pages_not_given(key, given), self._progress, SLOWEST_NAMES_PER_SECOND)

    def _pages_not_given(self, key: str, given: Mapping[tuple[str, ...], NamesGiven]) -> Iterator[Sequence[Entry]]:
        for names in given.values():
            names.begin_again()
        with self._base.reading_session(key) as session:
            for directory, entries in self._read_directories(session, tuple(given)):
                fresh = given[directory].not_given(entries)
                if fresh:  # entries yielded before are no progress
                    yield [self._entry(session, directory, entry) for entry in fresh]
        for names in given.values():
            names.require_all_seen_again()

    def _entry(self, session: SftpSession, directory: tuple[str, ...], entry: DirectoryEntry) -> Entry:
        """An entry, whose attributes are requested if the listing omits them."""
        name, attributes = os.fsdecode(entry.name), entry.attributes
        if attributes.mode is None or attributes.size_bytes is None:
            attributes = self._look(session, directory, name)
        return directory, name, attributes

    def _look(self, session: SftpSession, directory: Sequence[str], name: str) -> Attributes:
        """Request attributes that the listing omits; empty if the entry has vanished meanwhile."""
        answer = session.ask(PacketType.LSTAT, string(self._base.path(session, directory, name)))
        try:
            return answer.attributes()
        except StatusError as error:
            if error.code not in NOT_THERE:
                raise
            return Attributes(None, None, None)

    def _read_directories(
        self, session: SftpSession, directories: Sequence[tuple[str, ...]]
    ) -> Iterator[tuple[tuple[str, ...], Sequence[DirectoryEntry]]]:
        """The entries of several directories, read in parallel, page by page."""
        handles = self._open_directories(session, directories)
        last_pages: dict[tuple[str, ...], Sequence[DirectoryEntry]] = {}
        while handles:
            pages_ahead = max(1, PAGES_AT_ONCE // len(handles))
            asked = [
                (directory, session.post(PacketType.READDIR, string(handle)))
                for directory, handle in handles.items()
                for _ in range(pages_ahead)
            ]
            for directory, number in asked:
                entries = self._names(session, session.answer(number))
                if not entries and directory in handles:
                    session.post(PacketType.CLOSE, string(handles.pop(directory)))
                if entries and entries == last_pages.get(directory):
                    raise SessionLost("el servidor repite la misma lista sin fin")
                last_pages[directory] = entries
                yield directory, [entry for entry in entries if _is_below(entry.name)]
        session.settle()

    def _names(self, session: SftpSession, answer: Answer) -> Sequence[DirectoryEntry]:
        """The next names; none for a missing directory, which some servers report only when it is read."""
        try:
            return answer.names()
        except StatusError as error:
            if error.code not in NOT_THERE:
                raise
        self._base.require(session, self._base.resolved(session))
        return ()

    def _open_directories(
        self, session: SftpSession, directories: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], bytes]:
        """Handles of the existing directories."""
        numbers = [
            session.post(PacketType.OPENDIR, string(self._base.path(session, path) or b"/")) for path in directories
        ]
        handles = {}
        for directory, number in zip(directories, numbers, strict=True):
            try:
                handles[directory] = session.answer(number).handle()
            except StatusError as error:
                if error.code not in NOT_THERE:
                    raise
        if not handles:
            self._base.require(session, self._base.resolved(session))
        return handles


def _is_below(name: bytes) -> bool:
    """Whether a name is a real entry of its directory. Raises `SessionLost` for an impossible name, which would lead
    elsewhere.
    """
    if not name or b"/" in name or b"\0" in name:
        raise SessionLost("el servidor da nombres de fichero imposibles")
    return name not in (b".", b"..")
