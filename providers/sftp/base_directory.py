"""The directory on the server below which all objects are: its sessions, its paths, and what refusals there mean."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from config.logs import one_line
from config.models import StoredObject
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    InvalidKey,
    InvalidProviderSettings,
    ObjectNotFound,
    ObjectTooLarge,
    ProviderError,
    ProviderUnavailable,
    StorageFull,
)
from providers.file_trees import parts_of_key
from providers.sftp.packets import (
    CREATE_FLAGS,
    STATVFS,
    Answer,
    Attributes,
    PacketType,
    StatusCode,
    StatusError,
    string,
)
from providers.sftp.protocol import SftpSession
from providers.sftp.sessions import SessionPool

CREATE_TRIES = 10
"""How often others may remove a new directory, because it is empty, before it is used."""

NO_ATTRIBUTES = struct.pack(">I", 0)

READ_ONLY_FLAG = 1
"""`ST_RDONLY` among the flags of `statvfs@openssh.com`."""

ROOM_FOR_ONE_FILE_BYTES = 64 * 1024

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


class BaseDirectory:
    """`base_path` of one provider, which must exist. Its sessions turn refusals into `ProviderError`s."""

    def __init__(self, path: bytes, sessions: SessionPool) -> None:
        self._path = path
        self._sessions = sessions
        self._resolved: bytes | None = None

    @contextlib.contextmanager
    def session(self, key: str) -> Iterator[SftpSession]:
        """A session, its refusals turned into `ProviderError`s."""
        with self._sessions.session() as session:
            try:
                yield session
            except StatusError as error:
                raise explain(error, key) from error

    @contextlib.contextmanager
    def reading_session(self, key: str) -> Iterator[SftpSession]:
        """As `session`, for readers that hold handles open: one that stops early leaves none in a reused session."""
        with self.session(key) as session:
            try:
                yield session
            except BaseException:
                session.close()
                raise

    def path(self, session: SftpSession, directories: Sequence[str], name: str | None = None) -> bytes:
        """The absolute path on the server. Raises `DestinationMissing`."""
        parts = directories if name is None else (*directories, name)
        return b"/".join((self.resolved(session), *map(os.fsencode, parts)))

    def resolved(self, session: SftpSession) -> bytes:
        """`base_path` as the server resolves it, without a final slash, asked once. Raises `DestinationMissing`."""
        if self._resolved is None:
            with self._base_expected():
                reader = session.ask(PacketType.REALPATH, string(self._path)).names()
                resolved = reader[0].name if reader else self._path
            self.require(session, resolved)
            self._resolved = resolved.rstrip(b"/")
        return self._resolved

    def require(self, session: SftpSession, path: bytes) -> None:
        """Raises `DestinationMissing` unless the base directory, resolved as `path`, is there."""
        with self._base_expected():
            attributes = session.ask(PacketType.STAT, string(path or b"/")).attributes()
            if attributes.mode is None:
                raise InvalidProviderSettings(
                    "el servidor SFTP no dice qué es un fichero y qué un directorio (no da permisos): no se puede usar"
                )
            if not is_directory(attributes):
                raise StatusError(StatusCode.NO_SUCH_FILE, "")

    @contextlib.contextmanager
    def _base_expected(self) -> Iterator[None]:
        try:
            yield
        except StatusError as error:
            if error.code not in NOT_THERE:
                raise
            name = one_line(os.fsdecode(self._path))
            raise DestinationMissing(f"no existe el directorio {name} en el servidor") from error

    def create(self, session: SftpSession, directories: Sequence[str], path: bytes, opened: int) -> bytes:
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
            opened = post_open(session, path)
        return session.answer(opened).handle()

    def _make_directories(self, session: SftpSession, directories: Sequence[str]) -> None:
        """Make missing directories. Checks only the last answer: parents may exist where we may not write, and version
        3 has no code for that.
        """
        paths = [self.path(session, directories[:depth]) for depth in range(1, len(directories) + 1)]
        numbers = [session.post(PacketType.MKDIR, string(path) + NO_ATTRIBUTES) for path in paths]
        last = [session.answer(number) for number in numbers][-1]
        try:
            last.require_ok()
        except StatusError as error:
            if error.code in ERRORS and error.code not in NOT_THERE:
                raise

    def post_removals(self, session: SftpSession, directories: Iterable[Sequence[str]]) -> None:
        """Request the removal of empty directories, and of parents that this leaves empty, but never of `base_path`.

        The answers are ignored: the server refuses to remove non-empty directories.
        """
        for path in directories:
            for depth in range(len(path), 0, -1):
                session.post(PacketType.RMDIR, string(self.path(session, path[:depth])))

    def look_at(self, session: SftpSession, key: str) -> StoredObject:
        """The object under a key. Raises `ObjectNotFound`."""
        answer = session.ask(PacketType.LSTAT, string(self.path(session, parts_of_key(key))))
        size_bytes = size_of_file(answer, key)
        mtime = answer.attributes().mtime
        return StoredObject(key, size_bytes, version=None if mtime is None else f"{size_bytes}-{mtime}")

    def find(self, session: SftpSession, key: str) -> StoredObject | None:
        """The object under a key; `None` if there is none."""
        try:
            return self.look_at(session, key)
        except ObjectNotFound:
            return None

    def explain_refusal(
        self, session: SftpSession, error: StatusError, key: str, target: bytes, size_bytes: int
    ) -> ProviderError:
        """Find the reason of a refusal to store: version 3 has one code for most of them."""
        if session.in_step and error.code in VAGUE:
            self.require(session, self.resolved(session))
            reason = self._file_system_refusal(session, size_bytes)
            if reason is not None:
                return reason
            found = session.ask(PacketType.LSTAT, string(target))
            if found.packet_type == PacketType.ATTRIBUTES and is_directory(found.attributes()):
                return InvalidKey(f"ya hay un directorio con ese nombre: {one_line(key)}")
            if error.code in NOT_THERE:
                return InvalidKey(f"lo que debería ser un directorio es un fichero o un enlace: {one_line(key)}")
        return explain(error, key)

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

    def free_bytes(self) -> int | None:
        """See `Provider.free_bytes`."""
        with self.reading_session("") as session:
            space = self._space(session)
        return None if space is None else space.free_bytes

    def _space(self, session: SftpSession) -> _Space | None:
        """What the server says of its file system, if it does."""
        if STATVFS not in session.extensions:
            return None
        answer = session.answer(session.extended(STATVFS, string(self.resolved(session) or b"/")))
        try:
            _, fragment_bytes, _, _, free_fragments, inodes, _, free_inodes, _, flags = answer.numbers(10)
        except StatusError:
            return None
        return _Space(fragment_bytes * free_fragments, inodes, free_inodes, flags)


class _Space(NamedTuple):
    """What a server says of its file system."""

    free_bytes: int
    inodes: int
    free_inodes: int
    flags: int


def post_open(session: SftpSession, path: bytes, flags: int = CREATE_FLAGS) -> int:
    """Request to open a file; by default, to create it."""
    return session.post(PacketType.OPEN, string(path) + struct.pack(">I", flags) + NO_ATTRIBUTES)


def size_of_file(answer: Answer, key: str) -> int:
    """The size in an answer to LSTAT. Raises `ObjectNotFound` unless it is a regular file."""
    size_bytes = size_if_there(answer)
    if size_bytes is None:
        raise ObjectNotFound(f"no hay ningún objeto {one_line(key)}")
    return size_bytes


def size_if_there(answer: Answer) -> int | None:
    """The size in an answer to LSTAT; `None` unless it is a regular file."""
    try:
        attributes = answer.attributes()
    except StatusError as error:
        if error.code not in NOT_THERE:
            raise
        return None
    return attributes.size_bytes if is_file(attributes) else None


def is_file(attributes: Attributes) -> bool:
    """Whether they are those of a regular file."""
    return attributes.mode is not None and stat.S_ISREG(attributes.mode)


def is_directory(attributes: Attributes) -> bool:
    """Whether they are those of a directory."""
    return attributes.mode is not None and stat.S_ISDIR(attributes.mode)


def explain(error: StatusError, key: str) -> ProviderError:
    """What a refusal means to the caller."""
    if error.code == StatusCode.FAILURE and TOO_LARGE.search(error.message):
        return ObjectTooLarge(f"el servidor no admite ficheros tan grandes: {one_line(key)}")
    if error.code == StatusCode.FAILURE and FULL.search(error.message):
        return StorageFull(f"no queda espacio, o la cuota está agotada: {one_line(key)}")
    reason = ", ".join(filter(None, (f"código {error.code}", one_line(error.message))))
    unknown = (ProviderError, f"el servidor lo rechazó ({reason})")
    error_class, explanation = ERRORS.get(error.code, unknown)
    return error_class(f"{explanation}: {one_line(key)}")
