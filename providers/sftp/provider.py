"""A directory on an SSH server: objects are files below it, under their literal names."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from config.fields import FieldError, Fields
from config.logs import one_line
from config.models import ContentDigest, Evidence, ProviderRow, PutReceipt, StoredObject
from providers.base import (
    SLOWEST_HASHING_BYTES_PER_SECOND,
    TRANSFER_TIMEOUT_SECONDS,
    AccessDenied,
    BytesSource,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    InvalidProviderSettings,
    ObjectNotFound,
    ObjectTooLarge,
    Provider,
    ProviderError,
    ProviderUnavailable,
    Source,
    StorageFull,
    is_directory_of_keys,
    require_expected,
)
from providers.file_trees import (
    MeteredSource,
    is_temporary_name,
    names_to_discard,
    parts_of_key,
    parts_of_prefix,
    temporary_name,
)
from providers.probes import Remembered, folds_names
from providers.progress import Progress
from providers.retries import Result, with_retries
from providers.sftp.continuation import (
    COPY_DATA,
    KeptFile,
    KeptFiles,
    continued_later,
    copy_beginning,
    whole_pieces,
)
from providers.sftp.hash_commands import HASH_COMMANDS
from providers.sftp.protocol import (
    CREATE_AGAIN_FLAGS,
    CREATE_FLAGS,
    FSYNC,
    IN_FLIGHT_BYTES,
    POSIX_RENAME,
    READ_FLAGS,
    RESUME_FLAGS,
    STATVFS,
    Answer,
    Attributes,
    DirectoryEntry,
    PacketType,
    SessionLost,
    SftpSession,
    StatusCode,
    StatusError,
    string,
)
from providers.sftp.resumption import NamesGiven, ResumableContent, SourceFailed
from providers.sftp.server_hashing import ServerHashing
from providers.sftp.sessions import SessionPool
from providers.sftp.ssh import CommandFailed, CommandUnanswered, read_settings
from providers.shared.resumed_reads import resumed

VERIFICATIONS = ("auto", "comando", "lectura")

KEYS_PER_COMMAND = 2000
"""Starting a command starts a login shell, often slower than hashing a thousand small files."""

NAME_BYTES_PER_COMMAND = 256 * 1024

SLOWEST_NAMES_PER_SECOND = 40
"""At a hundred bytes each, the slowest permitted answer."""

DIRECTORIES_AT_ONCE = 32
"""How many directories are listed in one burst of requests."""

CREATE_TRIES = 10
"""How often others may remove a new directory, because it is empty, before it is used."""

NO_ATTRIBUTES = struct.pack(">I", 0)
READ_ONLY_FLAG = 1
"""`ST_RDONLY` among the flags of `statvfs@openssh.com`."""

ROOM_FOR_ONE_FILE_BYTES = 64 * 1024
PAGES_AT_ONCE = 16

ERRORS: Mapping[int, tuple[type[ProviderError], str]] = {
    StatusCode.NO_SUCH_FILE: (ObjectNotFound, "no existe"),
    StatusCode.PERMISSION_DENIED: (AccessDenied, "permiso denegado"),
    StatusCode.WRITE_PROTECT: (AccessDenied, "el sistema de ficheros es de solo lectura"),
    StatusCode.BAD_MESSAGE: (InvalidKey, "el servidor no admite el nombre"),
    StatusCode.INVALID_NAME: (InvalidKey, "el servidor no admite el nombre"),
    StatusCode.NO_SPACE: (StorageFull, "no queda espacio"),
    StatusCode.QUOTA_EXCEEDED: (StorageFull, "la cuota está agotada"),
    StatusCode.NO_CONNECTION: (ProviderUnavailable, "el servidor perdió su propia conexión"),
    StatusCode.CONNECTION_LOST: (ProviderUnavailable, "el servidor perdió su propia conexión"),
}

FULL = re.compile(r"no space|disk (is )?full|quota", re.IGNORECASE)
"""Messages of servers that have no code for a full disk; the first two are the system's own."""

TOO_LARGE = re.compile(r"file (is )?too (large|big)", re.IGNORECASE)
"""As `FULL`, of one file, as on FAT, which has none of more than 4 GiB."""

NOT_THERE = (StatusCode.NO_SUCH_FILE, StatusCode.NOT_A_DIRECTORY)
VAGUE = (StatusCode.FAILURE, *NOT_THERE)


class SftpProvider(Provider):
    """Keeps executions below `base_path`, which must exist.

    When `put` returns, the file is on the server's disk if the server has `fsync@openssh.com`; SFTP has no way to sync
    its directory entry.
    """

    only_conditions_stop_late_puts = False

    may_be_unmounted = True

    offload_threshold_bytes = 256 * 1024 * 1024
    """One process carries some 100 MB/s, however many files at once: the SSH protocol's packets are paramiko's work."""

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        try:
            if not isinstance(row.credentials, Mapping):
                raise FieldError("credenciales: debe ser un objeto JSON")
            options = Fields("configuracion", row.options)
            self._base_path = os.fsencode(options.required_text("base_path"))
            self._verification = options.text("verificacion", "auto")
            if self._verification not in VERIFICATIONS:
                raise FieldError(f"configuracion.verificacion: debe ser una de {', '.join(VERIFICATIONS)}")
            self._pool = SessionPool(read_settings(Fields("credenciales", row.credentials)))
        except FieldError as error:
            raise InvalidProviderSettings(str(error)) from error
        self._resolved_base: bytes | None = None
        self._folds_names = Remembered(functools.partial(folds_names, self))
        self._kept = KeptFiles()
        self._hashing = ServerHashing(self._pool.run, self._probe_beside)

    @property
    def objects_at_once(self) -> int:
        return 16

    def put(self, key: str, source: Source) -> PutReceipt:
        [(_, receipt)] = self.put_many({key: source})
        return receipt

    def put_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """See `Provider`. Requests each step for all files before it waits for an answer: three round trips in total.

        A file too large to lose as a whole with a session is stored over several sessions, if needed.
        """
        if len(sources) == 1:
            [(key, source)] = sources.items()
            if source.size_bytes > IN_FLIGHT_BYTES:
                yield key, self._put_large(key, source, self._rename_one)
                return
        with self._session(next(iter(sources), "")) as session:
            files = [self._unfinished_file(session, key, MeteredSource(source)) for key, source in sources.items()]
            self._store(session, files)
        yield from ((file.key, file.source.receipt()) for file in files)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. Checks again just before the rename; if nothing is expected, uses a request that replaces
        nothing.
        """
        give_name = functools.partial(self._rename_over, expected)
        if source.size_bytes > IN_FLIGHT_BYTES:
            return self._put_large(key, source, give_name)
        with self._session(key) as session:
            require_expected(key, self._find(session, key), expected)
            file = self._unfinished_file(session, key, MeteredSource(source))
            with self._unnamed(session, [file]):
                give_name(session, file)
        return file.source.receipt()

    def replaces_safely(self, prefix: str = "") -> bool:
        """If a rename is one atomic request: it fails once the unfinished file has been discarded."""
        with self._session(prefix) as session:
            return POSIX_RENAME in session.extensions

    def creates_safely(self, prefix: str = "") -> bool:
        """As `replaces_safely`."""
        return self.replaces_safely(prefix)

    def folds_names(self, prefix: str = "") -> bool:
        return self._folds_names.get(prefix)

    def open(self, key: str) -> Iterator[bytes]:
        return self.open_from(key, 0, 0)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        reading = _Reading(key)
        return resumed(lambda position: self._read_from(reading, start_bytes + position), self.progress)

    def _read_from(self, reading: _Reading, position: int) -> Iterator[bytes]:
        """The bytes of one object from a position on, by one session."""
        parts = parts_of_key(reading.key)
        with self._reading_session(reading.key) as session:
            path = self._path(session, parts)
            looked = session.post(PacketType.LSTAT, string(path))
            opened = session.post(PacketType.OPEN, string(path) + struct.pack(">I", READ_FLAGS) + NO_ATTRIBUTES)
            size_bytes = reading.require_same(session.answer(looked))
            handle = session.answer(opened).handle()
            for chunk in session.read_file(handle, size_bytes, position):
                position += len(chunk)
                if position > size_bytes:
                    raise IntegrityError(
                        f"el servidor da más de los {size_bytes} bytes que dice tener: {one_line(reading.key)}"
                    )
                yield chunk
            session.post(PacketType.CLOSE, string(handle))
            session.settle()

    def stat(self, key: str) -> StoredObject:
        with self._session(key) as session:
            return self._look_at(session, key)

    def _look_at(self, session: SftpSession, key: str) -> StoredObject:
        """The object under a key. Raises `ObjectNotFound`."""
        answer = session.ask(PacketType.LSTAT, string(self._path(session, parts_of_key(key))))
        size_bytes = _size_of_file(answer, key)
        mtime = answer.attributes().mtime
        return StoredObject(key, size_bytes, version=None if mtime is None else f"{size_bytes}-{mtime}")

    def _find(self, session: SftpSession, key: str) -> StoredObject | None:
        try:
            return self._look_at(session, key)
        except ObjectNotFound:
            return None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for directory, name, attributes in self._entries(prefix):
            if _is_file(attributes) and not is_temporary_name(name):
                yield StoredObject("/".join((*directory, name)), attributes.size_bytes or 0)

    def top_names(self) -> Sequence[str]:
        return [name for page in self._pages("", [()]) for _, name, _ in page]

    def delete(self, key: str) -> None:
        *directories, name = parts_of_key(key)
        with self._session(key) as session:
            path = self._path(session, directories, name)
            removed = session.post(PacketType.REMOVE, string(path))
            looked = session.post(PacketType.LSTAT, string(path))
            self._post_removals(session, [directories])
            _require_gone(session.answer(removed), session.answer(looked))
            session.settle()

    def discard_unfinished(self, prefix: str) -> None:
        if is_directory_of_keys(prefix):
            self._discard_below(prefix, self._kept.forget_below)
        else:
            self._discard_one(prefix)

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        """See `Provider`. Keeps large files whose bytes the server can copy, also of other keys: a file's name does not
        say which.
        """
        with self._session(prefix) as session:
            can_copy = COPY_DATA in session.extensions
        if not can_copy or not is_directory_of_keys(prefix):
            return super().discard_unfinished_but_for(prefix, is_wanted)
        return self._discard_below(prefix, self._kept.keep_below)

    def hand_over_unfinished(self, keys: Iterable[str]) -> Sequence[object]:
        return self._kept.hand_over(keys)

    def continue_with(self, kept: Sequence[object]) -> None:
        self._kept.add(kept)

    def _discard_below(self, prefix: str, to_discard: Callable[[str, Sequence[_Entry]], Sequence[_Entry]]) -> bool:
        """Discard the unfinished files below the prefix that `to_discard` selects; whether others stay.

        All of them belong to keys below the prefix.
        """
        start = parts_of_prefix(prefix)
        if start is None:
            return False
        visited = {tuple(start[0])}
        unfinished: list[_Entry] = []
        for directory, name, attributes in self._entries(prefix):
            if _is_directory(attributes):
                visited.add((*directory, name))
            elif is_temporary_name(name):
                unfinished.append((directory, name, attributes))
        discarded = to_discard(prefix, unfinished)
        with self._session(prefix) as session:
            for directory, name, _ in discarded:
                session.post(PacketType.REMOVE, string(self._path(session, directory, name)))
            self._post_removals(session, sorted(visited, key=len, reverse=True))
            session.settle()
        return len(discarded) < len(unfinished)

    def _discard_one(self, key: str) -> None:
        *directories, target = parts_of_key(key)
        names = names_to_discard(target, self._unfinished_in(key, directories), lambda: self._server_time(key))
        with self._session(key) as session:
            for name in names:
                session.post(PacketType.REMOVE, string(self._path(session, directories, name)))
            self._post_removals(session, [directories])
            session.settle()

    def _unfinished_in(self, key: str, directories: Sequence[str]) -> Mapping[str, int | None]:
        """The last modification time of each unfinished file."""
        pages = self._pages(key, [tuple(directories)])
        named = ((name, attributes) for page in pages for _, name, attributes in page)
        return {name: attributes.mtime for name, attributes in named if is_temporary_name(name)}

    def _server_time(self, key: str) -> int | None:
        """The server's clock, taken from a new file; `None` if none can be stored, as on a full disk."""
        try:
            with self._probe_beside(key, b"") as path, self._session(key) as session:
                return session.ask(PacketType.LSTAT, string(path)).attributes().mtime
        except CommandUnanswered:
            return None

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        """See `Provider`. The server computes them if the account may run commands; otherwise objects are read back."""
        for batch in _batches(keys):
            computed = self._computed_digests(batch)
            yield from super().digests(batch) if computed is None else computed

    def close(self) -> None:
        self._pool.close()

    @contextlib.contextmanager
    def _session(self, key: str) -> Iterator[SftpSession]:
        """A session, its refusals turned into `ProviderError`s."""
        with self._pool.session() as session:
            try:
                yield session
            except StatusError as error:
                raise _explain(error, key) from error

    @contextlib.contextmanager
    def _reading_session(self, key: str) -> Iterator[SftpSession]:
        """As `_session`, for readers that hold handles open: one that stops early leaves none in a reused session."""
        with self._session(key) as session:
            try:
                yield session
            except BaseException:
                session.close()
                raise

    def _path(self, session: SftpSession, directories: Sequence[str], name: str | None = None) -> bytes:
        """The absolute path on the server. Raises `DestinationMissing`."""
        parts = directories if name is None else (*directories, name)
        return b"/".join((self._base(session), *map(os.fsencode, parts)))

    def _base(self, session: SftpSession) -> bytes:
        """`base_path` as the server resolves it, without a final slash, asked once. Raises `DestinationMissing`."""
        if self._resolved_base is None:
            with self._base_expected():
                reader = session.ask(PacketType.REALPATH, string(self._base_path)).names()
                resolved = reader[0].name if reader else self._base_path
            self._require_base(session, resolved)
            self._resolved_base = resolved.rstrip(b"/")
        return self._resolved_base

    def _require_base(self, session: SftpSession, path: bytes) -> None:
        with self._base_expected():
            attributes = session.ask(PacketType.STAT, string(path or b"/")).attributes()
            if attributes.mode is None:
                raise InvalidProviderSettings(
                    "el servidor SFTP no dice qué es un fichero y qué un directorio (no da permisos): no se puede usar"
                )
            if not _is_directory(attributes):
                raise StatusError(StatusCode.NO_SUCH_FILE, "")

    @contextlib.contextmanager
    def _base_expected(self) -> Iterator[None]:
        try:
            yield
        except StatusError as error:
            if error.code not in NOT_THERE:
                raise
            name = one_line(os.fsdecode(self._base_path))
            raise DestinationMissing(f"no existe el directorio {name} en el servidor") from error

    def _unfinished_file(self, session: SftpSession, key: str, source: MeteredSource) -> _UnfinishedFile:
        *directories, name = parts_of_key(key)
        path = self._path(session, directories, temporary_name(name))
        return _UnfinishedFile(key, directories, path, self._path(session, directories, name), source)

    def _store(self, session: SftpSession, files: Sequence[_UnfinishedFile]) -> None:
        """Store files, each under its temporary name first."""
        with self._unnamed(session, files):
            self._rename(session, files)

    @contextlib.contextmanager
    def _unnamed(self, session: SftpSession, files: Sequence[_UnfinishedFile]) -> Iterator[None]:
        """Store files under temporary names. The caller renames them inside this context; an error removes them."""
        handles: list[bytes] = []
        with _discarded_on_error(session, handles, [file.path for file in files]):
            opened = [_post_open(session, file.path) for file in files]
            for file, number in zip(files, opened, strict=True):
                with self._refusal_explained(session, file), _temporary_name_told(file):
                    handles.append(self._create(session, file.directories, file.path, number))
            sent = []
            for file, handle in zip(files, handles, strict=True):
                with self._refusal_explained(session, file):
                    sent.append(_post_content(session, handle, file.path, file.source))
            for file, content in zip(files, sent, strict=True):
                with self._refusal_explained(session, file):
                    _require_stored(session, content, file.source)
            yield

    def _put_large(self, key: str, source: Source, give_name: _GiveName) -> PutReceipt:
        """Store one file, over several sessions if needed. Its unfinished file keeps one name, and no later session
        creates it again: discarding it ends this upload.

        Requests of a lost session may still take effect: they write the same bytes at the same place of the same file.
        """
        large = _LargeFile(key, source, self.progress, self._kept.take(key, source.size_bytes))
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
        interruption = self.progress.interruption
        if seconds_of_progress is None:
            return with_retries(step, interruption, self.progress)
        return with_retries(step, interruption, self.progress, seconds_of_progress)

    def _send_rest(self, large: _LargeFile) -> int | None:
        """Send the unacknowledged bytes, and return the file's size; `None` if bytes sent before are gone."""
        content = large.content
        with self._session(large.key) as session:
            file = self._file_of(session, large)
            large.can_be_named_again = POSIX_RENAME in session.extensions
            handles: list[bytes] = []
            discarded = _discarded_on_error(session, handles, [file.path], continued_later(session))
            with discarded, self._refusal_explained(session, file):
                handle = self._open_to_go_on(session, large, file)
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

    def _open_to_go_on(self, session: SftpSession, large: _LargeFile, file: _UnfinishedFile) -> bytes | None:
        """The handle of the unfinished file, created at first; `None` if it has lost bytes."""
        if large.content.acknowledged_bytes:
            return _reopened(session, file.path, large.content.acknowledged_bytes)
        flags = CREATE_AGAIN_FLAGS if large.was_asked_for else CREATE_FLAGS
        large.was_asked_for = True
        handle = self._create(session, file.directories, file.path, _post_open(session, file.path, flags))
        if large.kept is not None:
            self._begin_with(large.kept, session, large, handle)
        return handle

    def _begin_with(self, kept: KeptFile, session: SftpSession, large: _LargeFile, handle: bytes) -> None:
        """Begin a new file with the bytes of an earlier attempt's. Tried once: after a failure the file gets another
        name, because requests to copy may still take effect. Raises `SessionLost`.
        """
        copied_bytes = whole_pieces(kept.size_bytes, session.write_size_bytes)
        path = self._path(session, kept.directory, kept.name)
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

    def _name_large(self, large: _LargeFile, give_name: _GiveName) -> None:
        """Rename a finished file, unless an unanswered earlier request has done so."""
        with self._session(large.key) as session:
            file = self._file_of(session, large)
            with _discarded_on_error(session, [], [file.path]):
                if large.name_was_asked_for and _has_its_name(session, file):
                    return
                large.name_was_asked_for = True
                give_name(session, file)

    def _file_of(self, session: SftpSession, large: _LargeFile) -> _UnfinishedFile:
        """The unfinished file, the same in all sessions."""
        if large.file is None:
            large.file = self._unfinished_file(session, large.key, large.source)
        return large.file

    def _rename_over(self, expected: StoredObject | None, session: SftpSession, file: _UnfinishedFile) -> None:
        """Rename a finished file if exactly `expected` has its final name. Raises `ConditionFailed`."""
        require_expected(file.key, self._find(session, file.key), expected)
        if expected is None:
            self._rename_to_nothing(session, file)
        else:
            self._rename(session, [file])

    def _rename_one(self, session: SftpSession, file: _UnfinishedFile) -> None:
        self._rename(session, [file])

    def _rename_to_nothing(self, session: SftpSession, file: _UnfinishedFile) -> None:
        """Rename a finished file if its final name is free. Raises `ConditionFailed`."""
        answer = session.ask(PacketType.RENAME, string(file.path) + string(file.target))
        try:
            with self._refusal_explained(session, file):
                answer.require_ok()
        except ProviderError:
            if session.in_step:
                require_expected(file.key, self._find(session, file.key), None)
            raise

    def _rename(self, session: SftpSession, files: Sequence[_UnfinishedFile]) -> None:
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
    def _refusal_explained(self, session: SftpSession, file: _UnfinishedFile) -> Iterator[None]:
        try:
            yield
        except StatusError as error:
            raise self._explain_refusal(session, error, file.key, file.target, file.source.size_bytes) from error

    def _create(self, session: SftpSession, directories: Sequence[str], path: bytes, opened: int) -> bytes:
        """The handle of a requested new file. Creates its directories, again if somebody removed the empty ones in
        between.
        """
        for _ in range(CREATE_TRIES - 1):
            try:
                return session.answer(opened).handle()
            except StatusError as error:
                if error.code not in NOT_THERE:
                    raise
            self._make_directories(session, directories)
            opened = _post_open(session, path)
        return session.answer(opened).handle()

    def _make_directories(self, session: SftpSession, directories: Sequence[str]) -> None:
        """Make missing directories. Checks only the last answer: parents may exist where we may not write, and version
        3 has no code for that.
        """
        paths = [self._path(session, directories[:depth]) for depth in range(1, len(directories) + 1)]
        numbers = [session.post(PacketType.MKDIR, string(path) + NO_ATTRIBUTES) for path in paths]
        last = [session.answer(number) for number in numbers][-1]
        try:
            last.require_ok()
        except StatusError as error:
            if error.code in ERRORS and error.code not in NOT_THERE:
                raise

    def _explain_refusal(
        self, session: SftpSession, error: StatusError, key: str, target: bytes, size_bytes: int
    ) -> ProviderError:
        """Find the reason of a refusal to store: version 3 has one code for most of them."""
        if session.in_step and error.code in VAGUE:
            self._require_base(session, self._base(session))
            reason = self._file_system_refusal(session, size_bytes)
            if reason is not None:
                return reason
            found = session.ask(PacketType.LSTAT, string(target))
            if found.packet_type == PacketType.ATTRIBUTES and _is_directory(found.attributes()):
                return InvalidKey(f"ya hay un directorio con ese nombre: {one_line(key)}")
            if error.code in NOT_THERE:
                return InvalidKey(f"lo que debería ser un directorio es un fichero o un enlace: {one_line(key)}")
        return _explain(error, key)

    def _file_system_refusal(self, session: SftpSession, size_bytes: int) -> ProviderError | None:
        """Why the server's file system refuses a file of this size, if it says so."""
        space = self._space(session)
        if space is None:
            return None
        if space.flags & READ_ONLY_FLAG:
            return AccessDenied("el sistema de ficheros del servidor es de solo lectura")
        if space.free_bytes < size_bytes + ROOM_FOR_ONE_FILE_BYTES or (space.inodes and space.free_inodes <= 1):
            return StorageFull("no queda espacio en el servidor")
        return None

    def _space(self, session: SftpSession) -> _Space | None:
        """What the server says of its file system, if it does."""
        if STATVFS not in session.extensions:
            return None
        answer = session.answer(session.extended(STATVFS, string(self._base(session) or b"/")))
        try:
            _, fragment_bytes, _, _, free_fragments, inodes, _, free_inodes, _, flags = answer.numbers(10)
        except StatusError:
            return None
        return _Space(fragment_bytes * free_fragments, inodes, free_inodes, flags)

    def free_bytes(self) -> int | None:
        """See `Provider`."""
        with self._reading_session("") as session:
            space = self._space(session)
        return None if space is None else space.free_bytes

    def _entries(self, prefix: str) -> Iterator[_Entry]:
        """Every entry below a prefix, with its directory."""
        start = parts_of_prefix(prefix)
        if start is None:
            return
        top, beginning = tuple(start[0]), start[1]
        pending = deque([top])
        while pending:
            batch = [pending.popleft() for _ in range(min(len(pending), DIRECTORIES_AT_ONCE))]
            for directory, name, attributes in chain.from_iterable(self._pages(prefix, batch)):
                if directory != top or name.startswith(beginning):
                    if _is_directory(attributes):
                        pending.append((*directory, name))
                    yield directory, name, attributes

    def _pages(self, key: str, directories: Sequence[tuple[str, ...]]) -> Iterator[Sequence[_Entry]]:
        """The entries of several directories. After a lost session they are read again, but none is yielded twice."""
        given = {directory: NamesGiven() for directory in directories}
        return resumed(lambda _position: self._pages_not_given(key, given), self.progress, SLOWEST_NAMES_PER_SECOND)

    def _pages_not_given(self, key: str, given: Mapping[tuple[str, ...], NamesGiven]) -> Iterator[Sequence[_Entry]]:
        for names in given.values():
            names.begin_again()
        with self._reading_session(key) as session:
            for directory, entries in self._read_directories(session, tuple(given)):
                fresh = given[directory].not_given(entries)
                if fresh:  # entries yielded before are no progress
                    yield [self._entry(session, directory, entry) for entry in fresh]
        for names in given.values():
            names.require_all_seen_again()

    def _entry(self, session: SftpSession, directory: tuple[str, ...], entry: DirectoryEntry) -> _Entry:
        """An entry, whose attributes are requested if the listing omits them."""
        name, attributes = os.fsdecode(entry.name), entry.attributes
        if attributes.mode is None or attributes.size_bytes is None:
            attributes = self._look(session, directory, name)
        return directory, name, attributes

    def _look(self, session: SftpSession, directory: Sequence[str], name: str) -> Attributes:
        """Request attributes that the listing omits; empty if the entry has vanished meanwhile."""
        answer = session.ask(PacketType.LSTAT, string(self._path(session, directory, name)))
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
        self._require_base(session, self._base(session))
        return ()

    def _open_directories(
        self, session: SftpSession, directories: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], bytes]:
        """Handles of the existing directories."""
        numbers = [session.post(PacketType.OPENDIR, string(self._path(session, path) or b"/")) for path in directories]
        handles = {}
        for directory, number in zip(directories, numbers, strict=True):
            try:
                handles[directory] = session.answer(number).handle()
            except StatusError as error:
                if error.code not in NOT_THERE:
                    raise
        if not handles:
            self._require_base(session, self._base(session))
        return handles

    def _post_removals(self, session: SftpSession, directories: Iterable[Sequence[str]]) -> None:
        """Request the removal of empty directories, and of parents that this leaves empty, but never of `base_path`.

        The answers are ignored: the server refuses to remove non-empty directories.
        """
        for path in directories:
            for depth in range(len(path), 0, -1):
                session.post(PacketType.RMDIR, string(self._path(session, path[:depth])))

    def _computed_digests(self, keys: Sequence[str]) -> Sequence[ContentDigest] | None:
        """The hashes computed by the server; `None` if it cannot. Raises `ObjectNotFound`."""
        if self._verification == "lectura":
            return None
        try:
            self._hashing.require_hope()
            paths, size_bytes = self._look_for_all(keys)
            deadline_seconds = TRANSFER_TIMEOUT_SECONDS + size_bytes / SLOWEST_HASHING_BYTES_PER_SECOND
            hashes = self._hashing.hash_files(keys[0], paths, deadline_seconds)
        except CommandFailed as error:
            if self._verification == "comando":
                programs = " ni ".join(command.program for command in HASH_COMMANDS)
                raise AccessDenied(
                    f"configuracion.verificacion es 'comando' y en el servidor no se puede usar ni {programs}: {error}"
                ) from error
            return None
        return [ContentDigest(key, sha256, Evidence.CHECKSUM) for key, sha256 in zip(keys, hashes, strict=True)]

    def _look_for_all(self, keys: Sequence[str]) -> tuple[Sequence[bytes], int]:
        """The paths of existing files, and their total size. Raises `ObjectNotFound`."""
        with self._session(keys[0]) as session:
            paths = [self._path(session, parts_of_key(key)) for key in keys]
            numbers = [session.post(PacketType.LSTAT, string(path)) for path in paths]
            answers = [session.answer(number) for number in numbers]
            return paths, sum(_size_of_file(answer, key) for answer, key in zip(answers, keys, strict=True))

    @contextlib.contextmanager
    def _probe_beside(self, key: str, content: bytes) -> Iterator[bytes]:
        """The path of a small temporary file in a key's directory.

        Raises `ProviderUnavailable`, and `CommandUnanswered` if nothing can be stored.
        """
        try:
            path = self._store_probe(key, content)
        except ProviderUnavailable:
            raise
        except ProviderError as error:  # a full disk, say, must not prevent proving what it holds
            raise CommandUnanswered("no se pudo guardar un fichero de prueba") from error
        try:
            yield path
        finally:
            with self._session(key) as session:
                session.post(PacketType.REMOVE, string(path))
                session.settle()

    def _store_probe(self, key: str, content: bytes) -> bytes:
        """Store an unfinished file in a key's directory, and return its path."""
        *directories, name = parts_of_key(key)
        with self._session(key) as session:
            path = self._path(session, directories, temporary_name(name))
            handle = self._create(session, directories, path, _post_open(session, path))
            with _discarded_on_error(session, [handle], [path]):
                source = MeteredSource(BytesSource(content))
                _require_stored(session, _post_content(session, handle, path, source), source)
        return path


_Entry = tuple[tuple[str, ...], str, Attributes]
"""A directory, a name in it, and its attributes."""


class _Space(NamedTuple):
    """What a server says of its file system."""

    free_bytes: int
    inodes: int
    free_inodes: int
    flags: int


class _Reading:
    """An object read over several sessions if needed, all of which must see the same object."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._first_seen: Attributes | None = None

    def require_same(self, answer: Answer) -> int:
        """The size in an answer to LSTAT. Raises `ObjectNotFound`, `IntegrityError` for another object than before."""
        size_bytes = _size_of_file(answer, self.key)
        attributes = answer.attributes()
        if self._first_seen is None:
            self._first_seen = attributes
        elif attributes != self._first_seen:
            raise IntegrityError(f"el objeto cambió mientras se leía: {one_line(self.key)}")
        return size_bytes


@dataclass(frozen=True, slots=True)
class _UnfinishedFile:
    """A file being stored: its temporary path, its final path, and its content."""

    key: str
    directories: Sequence[str]
    path: bytes
    target: bytes
    source: MeteredSource


_GiveName = Callable[[SftpSession, _UnfinishedFile], None]
"""Renames a finished file. Raises `ProviderError`, and `StatusError` for a refusal not yet explained."""


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
        self.file: _UnfinishedFile | None = None
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
    """The requests that sent a file's bytes, those that ended it, and the one for its size."""

    writes: Sequence[int]
    endings: Sequence[int]
    looked: int


@contextlib.contextmanager
def _temporary_name_told(file: _UnfinishedFile) -> Iterator[None]:
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


def _post_open(session: SftpSession, path: bytes, flags: int = CREATE_FLAGS) -> int:
    return session.post(PacketType.OPEN, string(path) + struct.pack(">I", flags) + NO_ATTRIBUTES)


def _post_content(session: SftpSession, handle: bytes, path: bytes, source: MeteredSource) -> _SentContent:
    """Write a source to an open file, sync it if the server can, close it, and request its size.

    A small source is sent completely before the first answer is awaited.
    """
    writes = session.write_file(handle, source.chunks(session.write_size_bytes))
    return _end_content(session, handle, path, writes)


def _end_content(session: SftpSession, handle: bytes, path: bytes, writes: Sequence[int]) -> _SentContent:
    """Sync a written file if the server can, close it, and request its size."""
    endings = [session.extended(FSYNC, string(handle))] if FSYNC in session.extensions else []
    endings.append(session.post(PacketType.CLOSE, string(handle)))
    return _SentContent(writes, endings, session.post(PacketType.LSTAT, string(path)))


def _reopened(session: SftpSession, path: bytes, acknowledged_bytes: int) -> bytes | None:
    """The handle of an unfinished file; `None` if it is gone or has lost bytes."""
    looked = session.post(PacketType.LSTAT, string(path))
    opened = _post_open(session, path, RESUME_FLAGS)
    there_bytes = _size_if_there(session.answer(looked))
    try:
        handle = session.answer(opened).handle()
    except StatusError as error:
        if error.code not in NOT_THERE:
            raise
        return None
    return handle if there_bytes is not None and there_bytes >= acknowledged_bytes else None


def _has_its_name(session: SftpSession, file: _UnfinishedFile) -> bool:
    """Whether a file of the right size has the final name; the caller of `put` proves its bytes."""
    numbers = [session.post(PacketType.LSTAT, string(path)) for path in (file.path, file.target)]
    unfinished_bytes, there_bytes = (_size_if_there(session.answer(number)) for number in numbers)
    return unfinished_bytes is None and there_bytes == file.source.size_bytes


def _require_stored(session: SftpSession, sent: _SentContent, source: MeteredSource) -> None:
    """Raises `StatusError` if any request was refused, `IntegrityError` if the server has fewer or more bytes."""
    for number in sent.writes:
        session.answer(number, patient=True).require_ok()
    _require_size(_size_when_ended(session, sent), source.size_bytes)


def _size_when_ended(session: SftpSession, sent: _SentContent) -> int | None:
    """The size of a synced and closed file. Raises `StatusError`."""
    for number in sent.endings:
        session.answer(number, patient=True).require_ok()
    return session.answer(sent.looked).attributes().size_bytes


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
def _discarded_on_error(
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


def _require_gone(removed: Answer, looked: Answer) -> None:
    """Raises `StatusError` if a file could not be removed and still exists."""
    try:
        removed.require_ok()
    except StatusError:
        if looked.packet_type == PacketType.ATTRIBUTES and _is_file(looked.attributes()):
            raise


def _size_of_file(answer: Answer, key: str) -> int:
    """The size in an answer to LSTAT. Raises `ObjectNotFound` unless it is a regular file."""
    size_bytes = _size_if_there(answer)
    if size_bytes is None:
        raise ObjectNotFound(f"no hay ningún objeto {one_line(key)}")
    return size_bytes


def _size_if_there(answer: Answer) -> int | None:
    """The size in an answer to LSTAT; `None` unless it is a regular file."""
    try:
        attributes = answer.attributes()
    except StatusError as error:
        if error.code not in NOT_THERE:
            raise
        return None
    return attributes.size_bytes if _is_file(attributes) else None


def _is_below(name: bytes) -> bool:
    """Whether a name is a real entry of its directory. Raises `SessionLost` for an impossible name, which would lead
    elsewhere.
    """
    if not name or b"/" in name or b"\0" in name:
        raise SessionLost("el servidor da nombres de fichero imposibles")
    return name not in (b".", b"..")


def _is_file(attributes: Attributes) -> bool:
    return attributes.mode is not None and stat.S_ISREG(attributes.mode)


def _is_directory(attributes: Attributes) -> bool:
    return attributes.mode is not None and stat.S_ISDIR(attributes.mode)


def _explain(error: StatusError, key: str) -> ProviderError:
    """What a refusal means to the caller."""
    if error.code == StatusCode.FAILURE and TOO_LARGE.search(error.message):
        return ObjectTooLarge(f"el servidor no admite ficheros tan grandes: {one_line(key)}")
    if error.code == StatusCode.FAILURE and FULL.search(error.message):
        return StorageFull(f"no queda espacio, o la cuota está agotada: {one_line(key)}")
    reason = ", ".join(filter(None, (f"código {error.code}", one_line(error.message))))
    unknown = (ProviderError, f"el servidor lo rechazó ({reason})")
    error_class, explanation = ERRORS.get(error.code, unknown)
    return error_class(f"{explanation}: {one_line(key)}")


def _batches(keys: Iterable[str]) -> Iterator[Sequence[str]]:
    """Keys in groups of the size of one command."""
    batch: list[str] = []
    name_bytes = 0
    for key in keys:
        batch.append(key)
        name_bytes += len(os.fsencode(key))
        if len(batch) == KEYS_PER_COMMAND or name_bytes >= NAME_BYTES_PER_COMMAND:
            yield batch
            batch, name_bytes = [], 0
    if batch:
        yield batch
