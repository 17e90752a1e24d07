"""Stores files under temporary names and then gives them their own, over several sessions if they are large."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from config.logs import one_line
from config.models import PutReceipt, StoredObject
from providers.base import require_expected
from providers.errors import AccessDenied, IntegrityError, ProviderError, ProviderUnavailable
from providers.file_trees import MeteredSource, parts_of_key, temporary_name
from providers.progress import Progress
from providers.retries import Result, with_retries
from providers.sftp.base_directory import NOT_THERE, BaseDirectory, post_open, size_if_there
from providers.sftp.continuation import KeptFile, KeptFiles, continued_later, copy_beginning, whole_pieces
from providers.sftp.packets import (
    CREATE_AGAIN_FLAGS,
    CREATE_FLAGS,
    FSYNC,
    POSIX_RENAME,
    RESUME_FLAGS,
    Answer,
    PacketType,
    SessionLost,
    StatusCode,
    StatusError,
    string,
)
from providers.sftp.protocol import SftpSession
from providers.sftp.resumption import ResumableContent, SourceFailed
from providers.sources import Source


@dataclass(frozen=True, slots=True)
class UnfinishedFile:
    """A file being stored: its temporary path, its final path, and its content."""

    key: str
    directories: Sequence[str]
    path: bytes
    target: bytes
    source: MeteredSource


GiveName = Callable[[SftpSession, UnfinishedFile], None]
"""Renames a finished file. Raises `ProviderError`, and `StatusError` for a refusal not yet explained."""

GiveNames = Callable[[SftpSession, Sequence[UnfinishedFile]], None]
"""The same for several files."""


class _LargeFile:
    """A file stored over several sessions if needed, and its progress. For one thread."""

    def __init__(self, key: str, source: Source, progress: Progress, kept: KeptFile | None) -> None:
        self.key = key
        self.kept = kept
        """What an earlier attempt left of it, until that was used or could not be."""
        self.began_with_others = False
        """Whether bytes of an earlier attempt may be in it."""
        self.source = MeteredSource(source)
        self.content = ResumableContent(self.source, progress)
        self.file: UnfinishedFile | None = None
        self.was_asked_for = False
        """Whether a session has requested the creation of the unfinished file."""
        self.name_was_asked_for = False
        self.can_be_named_again = False
        """Whether a late rename request is harmless: if a rename is one atomic request."""

    def begin_again(self) -> None:
        """Take another unfinished file; the first one remains for `discard_unfinished`."""
        self.file = None
        self.was_asked_for = False

    def receipt(self) -> PutReceipt:
        """What was sent."""
        others = self.began_with_others
        return self.source.receipt()._replace(sent_whole=not others, left_unfinished=others)


@dataclass(frozen=True, slots=True)
class _SentContent:
    """The requests that sent a file's bytes, that synced it, if any, that closed it, and the one for its size."""

    writes: Sequence[int]
    synced: Sequence[int]
    closed: int
    looked: int


class Storing:
    """Stores files below the base directory."""

    def __init__(self, base: BaseDirectory, kept: KeptFiles, progress: Progress) -> None:
        self._base = base
        self._kept = kept
        self._progress = progress

    def unfinished_file(self, session: SftpSession, key: str, source: MeteredSource) -> UnfinishedFile:
        """A file that is to get a key, under a temporary name in the same directory."""
        *directories, name = parts_of_key(key)
        path = self._base.path(session, directories, temporary_name(name))
        return UnfinishedFile(key, directories, path, self._base.path(session, directories, name), source)

    @contextlib.contextmanager
    def unnamed(self, session: SftpSession, files: Sequence[UnfinishedFile]) -> Iterator[None]:
        """Store files under temporary names. The caller renames them inside this context; an error removes them."""
        handles: list[bytes] = []
        with discarded_on_error(session, handles, [file.path for file in files]):
            opened = [post_open(session, file.path) for file in files]
            for file, number in zip(files, opened, strict=True):
                with self._refusal_explained(session, file), _temporary_name_told(file):
                    handles.append(self._base.create(session, file.directories, file.path, number))
            sent = []
            for file, handle in zip(files, handles, strict=True):
                with self._refusal_explained(session, file):
                    sent.append(post_content(session, handle, file.path, file.source))
            for file, content in zip(files, sent, strict=True):
                with self._refusal_explained(session, file):
                    require_stored(session, content, file.source)
            yield

    def put_large(self, key: str, source: Source, give_name: GiveName) -> PutReceipt:
        """Store one file, over several sessions if needed. Its unfinished file keeps one name, and no later session
        creates it again: discarding it ends this upload.

        Requests of a lost session may still take effect: they write the same bytes at the same place of the same file.
        """
        large = _LargeFile(key, source, self._progress, self._kept.take(key, source.size_bytes))
        try:
            stored_bytes = self._repeated(lambda: self._send_rest(large), large.content.seconds_of_progress)
        except SourceFailed as failed:
            raise failed.error from None
        if stored_bytes is None:
            raise ProviderUnavailable(f"el servidor ya no tiene lo que se había enviado: {one_line(key)}")
        _require_size(stored_bytes, source.size_bytes)
        if large.can_be_named_again:
            self._repeated(lambda: self._name_large(large, give_name))
        else:
            self._name_large(large, give_name)
        return large.receipt()

    def _repeated(self, step: Callable[[], Result], seconds_of_progress: Callable[[], float] | None = None) -> Result:
        """See `with_retries`."""
        interruption = self._progress.interruption
        if seconds_of_progress is None:
            return with_retries(step, interruption, self._progress)
        return with_retries(step, interruption, self._progress, seconds_of_progress)

    def _send_rest(self, large: _LargeFile) -> int | None:
        """Send the unacknowledged bytes, and return the file's size; `None` if bytes sent before are gone."""
        content = large.content
        with self._base.session(large.key) as session:
            file = self._file_of(session, large)
            large.can_be_named_again = POSIX_RENAME in session.extensions
            handles: list[bytes] = []
            discarded = discarded_on_error(session, handles, [file.path], continued_later(session))
            with discarded, self._refusal_explained(session, file):
                handle = self._open_to_continue(session, large, file)
                if handle is None:
                    return None
                handles.append(handle)
                pieces = content.pieces(session.write_size_bytes)
                writes = session.write_file(handle, pieces, content.acknowledged_bytes, content.acknowledge)
                sent = _end_content(session, handle, file.path, writes)
                for number in sent.writes:
                    session.answer(number, patient=True).require_ok()
                    content.acknowledge()
                return _size_when_ended(session, sent)

    def _open_to_continue(self, session: SftpSession, large: _LargeFile, file: UnfinishedFile) -> bytes | None:
        """The handle of the unfinished file, created at first; `None` if it has lost bytes."""
        if large.content.acknowledged_bytes:
            return _reopened(session, file.path, large.content.acknowledged_bytes)
        flags = CREATE_AGAIN_FLAGS if large.was_asked_for else CREATE_FLAGS
        large.was_asked_for = True
        handle = self._base.create(session, file.directories, file.path, post_open(session, file.path, flags))
        if large.kept is not None:
            self._begin_with(large.kept, session, large, handle)
        return handle

    def _begin_with(self, kept: KeptFile, session: SftpSession, large: _LargeFile, handle: bytes) -> None:
        """Begin a new file with the bytes of an earlier attempt's. Tried once: after a failure the file gets another
        name, because requests to copy may still take effect. Raises `SessionLost`.
        """
        copied_bytes = whole_pieces(kept.size_bytes, session.write_size_bytes)
        path = self._base.path(session, kept.directory, kept.name)
        large.kept, large.began_with_others = None, True
        try:
            copy_beginning(session, path, handle, copied_bytes)
        except StatusError as error:
            large.begin_again()
            session.post(PacketType.REMOVE, string(path))  # there may be no room for both
            raise SessionLost("el servidor no copió lo que ya tenía") from error
        except SessionLost:
            large.begin_again()
            raise
        large.content.begin_behind(copied_bytes)

    def _name_large(self, large: _LargeFile, give_name: GiveName) -> None:
        """Rename a finished file, unless an unanswered earlier request has done so."""
        with self._base.session(large.key) as session:
            file = self._file_of(session, large)
            with discarded_on_error(session, [], [file.path]):
                if large.name_was_asked_for and _has_its_name(session, file):
                    return
                large.name_was_asked_for = True
                give_name(session, file)

    def _file_of(self, session: SftpSession, large: _LargeFile) -> UnfinishedFile:
        """The unfinished file, the same in all sessions."""
        if large.file is None:
            large.file = self.unfinished_file(session, large.key, large.source)
        return large.file

    def rename_over(self, expected: StoredObject | None, session: SftpSession, file: UnfinishedFile) -> None:
        """Rename a finished file if exactly `expected` has its final name. Raises `ConditionFailed`."""
        require_expected(file.key, self._base.find(session, file.key), expected)
        if expected is None:
            self.rename_to_nothing(session, [file])
        else:
            self.rename(session, [file])

    def rename_to_nothing(self, session: SftpSession, files: Sequence[UnfinishedFile]) -> None:
        """Rename finished files whose final names are free. Raises `ConditionFailed`."""
        asked = [session.post(PacketType.RENAME, string(file.path) + string(file.target)) for file in files]
        for file, number in zip(files, asked, strict=True):
            try:
                with self._refusal_explained(session, file):
                    session.answer(number).require_ok()
            except ProviderError:
                if session.in_step:
                    require_expected(file.key, self._base.find(session, file.key), None)
                raise

    def rename(self, session: SftpSession, files: Sequence[UnfinishedFile]) -> None:
        """Rename finished files, replacing existing ones."""
        if POSIX_RENAME not in session.extensions:
            for file in files:
                with self._refusal_explained(session, file):
                    _rename_plainly(session, file.path, file.target)
            return
        asked = [session.extended(POSIX_RENAME, string(file.path) + string(file.target)) for file in files]
        for file, number in zip(files, asked, strict=True):
            with self._refusal_explained(session, file):
                session.answer(number).require_ok()

    @contextlib.contextmanager
    def _refusal_explained(self, session: SftpSession, file: UnfinishedFile) -> Iterator[None]:
        try:
            yield
        except StatusError as error:
            raise self._base.explain_refusal(session, error, file.key, file.target, file.source.size_bytes) from error


@contextlib.contextmanager
def _temporary_name_told(file: UnfinishedFile) -> Iterator[None]:
    """Say which name a server does not accept: some refuse those that begin with a period, or this ending."""
    try:
        yield
    except StatusError as error:
        if error.code != StatusCode.PERMISSION_DENIED:
            raise
        name = one_line(os.fsdecode(file.path.rpartition(b"/")[2]))
        raise AccessDenied(
            f"permiso denegado: {one_line(file.key)}, al crear su fichero temporal {name}; si el servidor no admite "
            "nombres que empiezan por punto o acaban en .part, hay que permitirlos"
        ) from error


def post_content(session: SftpSession, handle: bytes, path: bytes, source: MeteredSource) -> _SentContent:
    """Write a source to an open file, sync it if the server can, close it, and request its size.

    A small source is sent completely before the first answer is awaited.
    """
    writes = session.write_file(handle, source.chunks(session.write_size_bytes))
    return _end_content(session, handle, path, writes)


def _end_content(session: SftpSession, handle: bytes, path: bytes, writes: Sequence[int]) -> _SentContent:
    """Sync a written file if the server can, close it, and request its size."""
    synced = [session.extended(FSYNC, string(handle))] if FSYNC in session.extensions else []
    closed = session.post(PacketType.CLOSE, string(handle))
    return _SentContent(writes, synced, closed, session.post(PacketType.LSTAT, string(path)))


def _reopened(session: SftpSession, path: bytes, acknowledged_bytes: int) -> bytes | None:
    """The handle of an unfinished file; `None` if it is gone or has lost bytes."""
    looked = session.post(PacketType.LSTAT, string(path))
    opened = post_open(session, path, RESUME_FLAGS)
    there_bytes = size_if_there(session.answer(looked))
    try:
        handle = session.answer(opened).handle()
    except StatusError as error:
        if error.code not in NOT_THERE:
            raise
        return None
    return handle if there_bytes is not None and there_bytes >= acknowledged_bytes else None


def _has_its_name(session: SftpSession, file: UnfinishedFile) -> bool:
    """Whether a file of the right size has the final name; the caller of `put` proves its bytes."""
    numbers = [session.post(PacketType.LSTAT, string(path)) for path in (file.path, file.target)]
    unfinished_bytes, there_bytes = (size_if_there(session.answer(number)) for number in numbers)
    return unfinished_bytes is None and there_bytes == file.source.size_bytes


def require_stored(session: SftpSession, sent: _SentContent, source: MeteredSource) -> None:
    """Raises `StatusError` if any request was refused, `IntegrityError` if the server has fewer or more bytes."""
    for number in sent.writes:
        session.answer(number, patient=True).require_ok()
    _require_size(_size_when_ended(session, sent), source.size_bytes)


def _size_when_ended(session: SftpSession, sent: _SentContent) -> int | None:
    """The size of a synced and closed file. Raises `StatusError`."""
    for number in sent.synced:
        _require_synced(session.answer(number, patient=True))
    session.answer(sent.closed, patient=True).require_ok()
    return session.answer(sent.looked).attributes().size_bytes


def _require_synced(answer: Answer) -> None:
    """Raises `StatusError` for a file that is not on the disk. A server may announce that it syncs, and then have no
    way to do so in the store behind it: it is as one that announces nothing.
    """
    try:
        answer.require_ok()
    except StatusError as error:
        if error.code != StatusCode.UNSUPPORTED:
            raise


def _require_size(stored_bytes: int | None, sent_bytes: int) -> None:
    if stored_bytes != sent_bytes:
        raise IntegrityError(f"se enviaron {sent_bytes} bytes y el servidor tiene {stored_bytes}")


def _rename_plainly(session: SftpSession, path: bytes, target: bytes) -> None:
    """Rename a finished file on a server without OpenSSH's extension, whose rename replaces nothing: the old file is
    removed first. A reader may find no file for that moment, but never half of one, and `put` has not yet returned to
    its caller.
    """
    try:
        session.ask(PacketType.RENAME, string(path) + string(target)).require_ok()
    except StatusError:
        session.post(PacketType.REMOVE, string(target))
        session.ask(PacketType.RENAME, string(path) + string(target)).require_ok()
        session.settle()


@contextlib.contextmanager
def discarded_on_error(
    session: SftpSession,
    handles: Sequence[bytes],
    paths: Sequence[bytes],
    stay_after: Callable[[BaseException], bool] = lambda _: False,
) -> Iterator[None]:
    """Remove unfinished files after any error but those after which they stay; if the connection is lost,
    `discard_unfinished` does it.
    """
    try:
        yield
    except BaseException as error:
        if session.in_step:
            with contextlib.suppress(SessionLost):
                for handle in handles:
                    session.post(PacketType.CLOSE, string(handle))
                for path in () if stay_after(error) else paths:
                    session.post(PacketType.REMOVE, string(path))
                session.settle()
                if len(handles) < len(paths):
                    session.close()  # the server may have opened more handles than were read
        raise
